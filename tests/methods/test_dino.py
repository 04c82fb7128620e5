"""DINO's head, loss, centre and temperatures are those of the authors' code; the teacher only follows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods.baselines import dino
from deixis.nn.ema import momentum_at
from deixis.types import Crop, Progress, ViewSpec
from tests.support import load_golden

CLOSE = {"rtol": 1e-9, "atol": 1e-12}


def stored_head(golden: dict[str, Tensor]) -> dino.DinoHead:
    hidden, width = golden["param.fc1.weight"].shape
    outputs, bottleneck = golden["param.last.v"].shape
    head = dino.DinoHead(width, hidden, bottleneck, outputs).double()
    maps = {f"maps.{2 * i}.{kind}": golden[f"param.fc{i + 1}.{kind}"] for i in range(3) for kind in ("weight", "bias")}
    head.load_state_dict({**maps, "directions": golden["param.last.v"]})
    return head


@pytest.mark.golden
def test_head_and_its_gradients_are_those_of_the_authors() -> None:
    golden = load_golden("dino_head")
    head, rows = stored_head(golden), golden["in.x"].clone().requires_grad_()
    output = head(rows)
    torch.testing.assert_close(output, golden["out.y"], **CLOSE)
    (output * golden["in.cotangent"]).sum().backward()
    torch.testing.assert_close(rows.grad, golden["grad.x"], **CLOSE)
    torch.testing.assert_close(head.directions.grad, golden["grad.last.v"], **CLOSE)
    for i in range(3):
        for kind in ("weight", "bias"):
            found = head.maps.get_parameter(f"{2 * i}.{kind}").grad
            torch.testing.assert_close(found, golden[f"grad.fc{i + 1}.{kind}"], **CLOSE)


@pytest.mark.golden
def test_loss_centre_and_temperatures_are_those_of_the_authors() -> None:
    golden = load_golden("dino_loss")
    views, batch = int(golden["cfg.n_views"]), int(golden["cfg.batch"])
    epochs, warm = int(golden["cfg.total_epochs"]), int(golden["cfg.warmup_epochs"])
    start, end = (float(golden[f"cfg.teacher_temp_{each}"]) for each in ("start", "final"))
    schedule = dino.temperatures(start, end, warm, epochs)
    torch.testing.assert_close(schedule, golden["out.teacher_temp_schedule"], **CLOSE)
    student = golden["in.student"].clone().requires_grad_()
    teacher = golden["in.teacher"].unflatten(0, (2, batch))
    loss = dino.centred_cross_entropy(
        student.unflatten(0, (views, batch)),
        teacher,
        golden["in.center"],
        float(golden["cfg.student_temp"]),
        float(schedule[int(golden["cfg.epoch"])]),
    )
    torch.testing.assert_close(loss, golden["out.loss"], **CLOSE)
    loss.backward()
    torch.testing.assert_close(student.grad, golden["grad.student"], **CLOSE)
    moved = dino.moved_centre(golden["in.center"], teacher.mean(0), float(golden["cfg.center_momentum"]))
    torch.testing.assert_close(moved, golden["out.center_after"], **CLOSE)


def test_the_loss_is_that_of_a_slow_loop_over_pairs() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(3, 2, 5, generator=draw), torch.randn(2, 2, 5, generator=draw)
    centre, terms = torch.randn(5, generator=draw), []
    for a in range(2):
        for v in range(3):
            if v != a:
                wanted = ((teacher[a] - centre) / 0.04).softmax(1)
                terms.append(-(wanted * (student[v] / 0.1).log_softmax(1)).sum(1).mean())
    found = dino.centred_cross_entropy(student, teacher, centre, 0.1, 0.04)
    torch.testing.assert_close(found, torch.stack(terms).mean())


def test_the_length_of_directions_is_nothing() -> None:
    head, rows = dino.DinoHead(6, 8, 4, 5), torch.randn(3, 6)
    before = head(rows)
    head.directions.data *= torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])[:, None]
    torch.testing.assert_close(head(rows), before)


def test_the_teacher_stays_at_the_end_of_a_run_and_follows_at_its_start() -> None:
    assert momentum_at(0, 10, 0.9) == pytest.approx(0.9)
    assert momentum_at(10, 10, 0.9) == 1.0


def test_the_teacher_has_two_crops() -> None:
    method: Any = engine.build("dino", "tiny")
    assert not any(each.requires_grad for each in method.teacher.parameters())
    with pytest.raises(DeixisError, match=r"groups of crops have \[1\] crops"):
        engine.build("dino", "tiny", {"view": ViewSpec(size=0, crops=(Crop(1, 16),))})


def test_the_student_leaves_blocks_out_and_the_teacher_does_not() -> None:
    tower = zoo.load_part("image_tower", "timm:test_vit:untrained:32", seed=0)
    method: Any = engine.build("dino", "tiny", {"drop_path": 0.9}, {"encoder": tower}).train()
    images = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def varies(network: Any) -> bool:
        with torch.no_grad():
            return not torch.equal(network(images), network(images))

    assert varies(method.encoder)
    assert not varies(method.teacher.encoder.module)
    method.eval()
    assert torch.equal(method.encoder(images), method.teacher.encoder.module(images))
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in method.encoder.network.blocks]
    assert rates == pytest.approx([0.9 * i / 5 for i in range(6)])


def test_a_tower_whose_blocks_can_t_be_left_out_is_warned_of_and_no_probability_is_refused() -> None:
    whole: Any = engine.build("dino", "tiny", {"drop_path": 0.1})
    assert "no block of this tower can be left out" in whole.warnings({}, Progress())["whole"]
    plain: Any = engine.build("dino", "tiny")
    assert not plain.warnings({}, Progress())
    with pytest.raises(DeixisError, match="drop_path is 1"):
        engine.build("dino", "tiny", {"drop_path": 1.0})
