"""PixPro's consistency, its propagation and a whole step are the authors'; mirrored crops meet where they lie."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deixis import engine
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.methods import pixpro
from deixis.nn.ema import momentum_at
from deixis.nn.encoders import ImageHalf
from deixis.nn.vision.any_size import feature_map
from deixis.nn.vision.pyramid import Level
from deixis.types import Batch, Crop, Losses, Progress, ViewSpec
from tests.support import load_golden

CLOSE = {"rtol": 1e-9, "atol": 1e-13}
ZERO = {"rtol": 0.0, "atol": 1e-10}
"""Of biases before a batch norm, whose gradient is 0 but for rounding."""


def built(**overrides: Any) -> pixpro.Method:
    return engine.build("pixpro", "tiny", overrides, seed=3)


@pytest.mark.golden
def test_masks_loss_and_gradients_are_those_of_the_authors_code() -> None:
    golden = load_golden("pixpro_loss")
    leaves = [golden[f"in.y{i}"].clone().requires_grad_() for i in (1, 2)]
    keys, boxes = ([golden[f"in.{name}{i}"] for i in (1, 2)] for name in ("k", "box"))
    grid, ratio = (leaves[0].shape[2], leaves[0].shape[3]), float(golden["cfg.pos_ratio"])
    masks = [pixpro.positive_mask(*pair, grid, ratio) for pair in (boxes, boxes[::-1])]
    assert torch.equal(masks[0], golden["out.mask12"])
    assert torch.equal(masks[1], golden["out.mask21"])
    losses = [pixpro.pixel_consistency(leaves[i], keys[1 - i], masks[i]) for i in (0, 1)]
    torch.testing.assert_close(losses[0], golden["out.loss12"], **CLOSE)
    torch.testing.assert_close(losses[1], golden["out.loss21"], **CLOSE)
    torch.testing.assert_close(sum(losses), golden["out.loss"], **CLOSE)
    for leaf, gradient in zip(leaves, torch.autograd.grad(losses[0] + losses[1], leaves), strict=True):
        torch.testing.assert_close(gradient, golden[f"grad.y{1 if leaf is leaves[0] else 2}"], **CLOSE)


@pytest.mark.golden
@pytest.mark.parametrize("transform", ["identity", "conv1", "conv2"])
def test_propagation_and_its_gradients_are_those_of_the_authors_code(transform: str) -> None:
    golden = load_golden("pixpro_propagation")
    x = golden["in.x"].clone().requires_grad_()
    hidden = len(golden["param.conv2.fc1.bias"])
    module = pixpro.PixelPropagation(
        x.shape[1],
        gamma=float(golden["cfg.gamma"]),
        clamp=float(golden["cfg.clamp"]),
        transform=transform,
        hidden=hidden,
    ).double()
    names = {"linears.0": "fc1" if transform == "conv2" else "", "norms.0": "bn", "linears.1": "fc2"}
    parameters = {name.removeprefix("value."): value for name, value in module.named_parameters()}
    stored = {}
    for name, value in parameters.items():
        layer, _, kind = name.rpartition(".")
        stored[name] = ".".join(part for part in (transform, names[layer], kind) if part)
        value.data.copy_(golden[f"param.{stored[name]}"].reshape(value.shape))
    y = module(x)
    unit = F.normalize(y, dim=1)
    torch.testing.assert_close(y, golden[f"out.{transform}.y"], **CLOSE)
    torch.testing.assert_close(unit, golden[f"out.{transform}.y_normalized"], **CLOSE)
    score = (unit * golden["in.cotangent"]).sum()
    found = torch.autograd.grad(score, [x, *parameters.values()])
    torch.testing.assert_close(found[0], golden[f"grad.{transform}.x"], **CLOSE)
    for name, gradient in zip(parameters, found[1:], strict=True):
        key = f"grad.{stored[name]}"
        if key in golden:
            torch.testing.assert_close(gradient, golden[key].reshape(gradient.shape), **CLOSE)
        else:
            assert stored[name] == "conv2.fc1.bias"
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), **ZERO)


class Small(nn.Module):
    """The encoder of the golden step: a convolution, a batch norm, ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, channels, 3, stride=2, padding=1), nn.BatchNorm2d(channels)
        self.feature_width, self.levels = channels, (Level(channels, 2),)

    def cells(self, images: Tensor) -> Tensor:
        return self.bn(self.conv(images)).relu()


def renamed(name: str) -> str:
    """Of a parameter of the method, its name in the golden file."""
    name = name.replace("encoder.network.", "encoder.").replace("predictor.value.linears.0", "value")
    name = name.replace("instance_", "ins_").replace(".module.", ".")
    for own, theirs in (("linears.0", "fc1"), ("linears.1", "fc2"), ("norms.0", "bn")):
        name = name.replace(own, theirs)
    return name.replace("key_encoder.network.", "key_encoder.")


@pytest.mark.golden
def test_a_whole_step_is_that_of_the_authors_code() -> None:
    """Both passes, both branches, gradients, the move of the averages and the statistics of all batch norms."""
    golden = load_golden("pixpro_step")
    side = golden["in.image1"].shape[2]
    tower = ImageHalf(Small(len(golden["param.encoder.conv.bias"])), Preprocess(side), "small")
    numbers = {name: float(golden[f"cfg.{name}"]) for name in ("gamma", "clamp")}
    settings = {
        **numbers,
        "ratio": float(golden["cfg.pos_ratio"]),
        "momentum": float(golden["cfg.ema_base"]),
        "instance": float(golden["cfg.instance_weight"]),
        "hidden": len(golden["param.projector.fc1.bias"]),
        "width": len(golden["param.value.bias"]),
        "view": ViewSpec(size=0, boxes=True, crops=(Crop(1, side), Crop(1, side))),
    }
    method = engine.build("pixpro", "tiny", settings, {"encoder": tower}).double()
    for name, value in method.named_parameters():
        value.data.copy_(golden[f"param.{renamed(name)}"].reshape(value.shape))
    chosen = engine.enter(method, method.stages()[0])
    progress = Progress(int(golden["cfg.ema_step"]), int(golden["cfg.ema_total_steps"]))
    method.after_step(progress, Losses({}))
    for name, value in method.named_parameters():
        if name.startswith("key_"):
            torch.testing.assert_close(value, golden[f"out.{renamed(name)}_after"].reshape(value.shape), **CLOSE)
    count = len(golden["in.image1"])
    batch = Batch(
        tuple(map(str, range(count))),
        views=tuple(golden[f"in.image{i}"][:, None] for i in (1, 2)),
        view_boxes=tuple(golden[f"in.box{i}"][:, None] for i in (1, 2)),
    )
    losses = method(batch, progress)
    losses.total.backward()
    torch.testing.assert_close(losses.total, golden["out.loss_total"], **CLOSE)
    for name, value in chosen.items():
        expected = golden[f"grad.{renamed(name)}"].reshape(value.shape)
        zero = name.endswith(pixpro.CARD.zero_gradient) or name == "encoder.network.conv.bias"
        torch.testing.assert_close(value.grad, expected, **(ZERO if zero else CLOSE))
    for name, value in method.named_buffers():
        if "running" in name:
            torch.testing.assert_close(value, golden[f"out.{renamed(name)}_after"], **CLOSE)


def test_the_consistency_equals_a_loop_over_pairs() -> None:
    cells, keys = (F.normalize(torch.randn(3, 4, 2, 3), dim=1) for _ in range(2))
    mask = torch.rand(3, 6, 6) < 0.3
    mask[1] = False
    means = []
    for b in range(3):
        pairs = [(i, j) for i in range(6) for j in range(6) if mask[b, i, j]]
        cosines = [(cells[b].flatten(1)[:, i] * keys[b].flatten(1)[:, j]).sum() for i, j in pairs]
        means.append(torch.stack(cosines).sum() / (len(pairs) + 1e-6) if pairs else torch.zeros(()))
    torch.testing.assert_close(pixpro.pixel_consistency(cells, keys, mask), -2 * torch.stack(means).mean())


def test_the_contrast_equals_a_loop_and_has_gradients_where_a_cell_has_no_pair() -> None:
    cells, keys = (F.normalize(torch.randn(2, 4, 2, 2), dim=1) for _ in range(2))
    cells.requires_grad_()
    mask = torch.tensor([[1, 0, 0, 1], [0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool).expand(2, 4, 4)
    terms = []
    for b in range(2):
        for i in range(4):
            weights = [(cells[b].flatten(1)[:, i] @ keys[b].flatten(1)[:, j] / 0.3).exp() for j in range(4)]
            own = [weight for weight, same in zip(weights, mask[b, i], strict=True) if same]
            terms += [-(torch.stack(own).sum() / torch.stack(weights).sum()).log()] if own else []
    loss = pixpro.pixel_contrast(cells, keys, mask, 0.3)
    torch.testing.assert_close(loss, torch.stack(terms).mean())
    assert torch.autograd.grad(loss, cells)[0].isfinite().all()


def test_cells_of_a_mirrored_crop_meet_those_of_the_crop_as_it_is_from_the_other_side() -> None:
    box = torch.tensor([[0.1, 0.2, 0.5, 0.3]])
    mask = pixpro.positive_mask(box, box[:, [2, 1, 0, 3]], (1, 4), 0.7)[0]
    assert torch.equal(mask, torch.eye(4).flip(1).bool())


def test_the_distance_at_the_threshold_is_no_pair() -> None:
    """Two cells on a line, whose centres are as far apart as a cell is long."""
    box = torch.tensor([[0.0, 0.0, 0.0, 1.0]])
    below, at = (pixpro.positive_mask(box, box, (2, 1), ratio).sum() for ratio in (1.01, 1.0))
    assert (int(below), int(at)) == (4, 2)


def test_what_looks_alike_becomes_one_vector_and_what_is_opposite_has_no_say() -> None:
    cells = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]).T.reshape(1, 2, 1, 3)
    propagated = pixpro.PixelPropagation(2, transform="identity")(cells)
    assert propagated.flatten(2).tolist() == [[[2.0, 2.0, -1.0], [0.0, 0.0, 0.0]]]


def test_the_momentum_rises_from_its_start_to_one() -> None:
    assert momentum_at(0, 100, 0.99) == pytest.approx(0.99)
    assert momentum_at(50, 100, 0.99) == pytest.approx(0.995)
    assert momentum_at(100, 100, 0.99) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("settings", "parts", "trivial"),
    [
        ({"instance": 0.0}, {"pixels"}, -4.0),
        ({"pixels": 0.0}, {"instance"}, -4.0),
        ({"instance": 0.0, "objective": "contrast"}, {"pixels"}, math.log(16)),
        ({"instance": 0.5, "predictor": "mlp"}, {"pixels", "instance"}, -6.0),
        ({"instance": 0.0, "layer": "backbone.0"}, {"pixels"}, -4.0),
    ],
)
def test_each_task_trains_what_it_names(settings: dict[str, Any], parts: set[str], trivial: float) -> None:
    method = built(**settings)
    engine.enter(method, method.stages()[0])
    batch = Batch.synthetic(pixpro.CARD.needs, method.config.view, size=3)
    losses = method(batch, Progress())
    assert set(losses.parts) == parts
    assert losses.metrics["trivial_loss"] == pytest.approx(trivial)
    losses.total.backward()
    missing = [name for name, value in method.named_parameters() if value.requires_grad and value.grad is None]
    assert missing == []


@pytest.mark.parametrize(("statistics", "sizes"), [(True, [3, 3, 3, 3]), (False, [6, 6])])
def test_crops_go_through_a_tower_together_unless_its_batch_norms_take_the_statistics_of_each(
    statistics: bool, sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    method, seen = built(statistics=statistics), []

    def watched(tower: Any, images: Tensor, layer: str) -> Tensor:
        seen.append(len(images))
        return feature_map(tower, images, layer)

    engine.enter(method, method.stages()[0])
    monkeypatch.setattr(pixpro, "feature_map", watched)
    method(Batch.synthetic(pixpro.CARD.needs, method.config.view, size=3), Progress())
    assert seen == sizes


def test_a_network_that_gives_one_vector_everywhere_reaches_the_trivial_loss_and_has_no_deviation() -> None:
    """As it is said beside the loss; half of the samples have crops that never meet, and count as 0."""
    method = built(instance=0.0, transform="identity")
    for value in (*method.encoder.parameters(), *method.key_encoder.parameters()):
        value.data.zero_()
    boxes = torch.tensor([[0.0, 0.0, 0.4, 0.4]]).expand(2, 4)
    far = torch.stack([boxes[0], boxes[0] + 0.6])
    batch = Batch(("a", "b"), views=(torch.randn(2, 1, 3, 32, 32),) * 2, view_boxes=(boxes[:, None], far[:, None]))
    losses = method.eval()(batch, Progress())
    assert float(losses.total.detach()) == pytest.approx(-2.0, abs=0.01)
    assert float(losses.metrics["deviation"]) == pytest.approx(0.0, abs=1e-6)
    assert float(losses.metrics["images_with_pairs"]) == 0.5
    values = {name: float(value) for name, value in losses.metrics.items()}
    assert set(method.warnings({**values, "images_with_pairs": 0.4}, Progress(5, 10))) == {"collapsed", "no overlap"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"view": ViewSpec(size=0, boxes=True, crops=(Crop(2, 32),))}, "Give two groups"),
        ({"pixels": 0.0, "instance": 0.0}, "Neither cells nor whole crops are compared"),
        ({"layer": "backbone.9"}, "no layer 'backbone.9'. Near names: backbone"),
    ],
)
def test_settings_that_leave_nothing_to_compare_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(DeixisError, match=said):
        built(**settings)
