"""KaLM: which passages are compared in which stage, mixes, the teacher; settings that mean nothing are refused."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from deixis import engine, zoo
from deixis.errors import DeixisError
from deixis.methods import kalm
from deixis.types import Batch, FieldSpec, Progress

PASSAGES = (
    ("a dog", "a cat", "a cow", "a hen"),
    ("a red car", "a bus", "a tram", "a ship"),
    ("tea", "milk", "ale", "rum"),
)
HARD = Progress(stage="hard")


def made(**settings: Any) -> Any:
    config = dataclasses.replace(
        kalm.Config.tiny(), **{"pairs": 0.0, "dims": (), "dim_weights": (), "distil": 0.0, **settings}
    )
    parts = [zoo.load_part("text_encoder", name) for name in (config.encoder, config.teacher) if name]
    return kalm.Method(config, **dict(zip(("encoder", "teacher"), parts, strict=False))).eval()


def batch(passages: tuple[tuple[str, ...], ...] = PASSAGES) -> Batch:
    ids = tuple(str(number) for number in range(len(passages)))
    captions = tuple((f"query {number}",) for number in ids)
    specs = {"passages": FieldSpec("passages", "B", "object")}
    return Batch(ids, captions=captions, extra={"passages": passages}, specs=specs)


def test_pairs_alone_come_first_and_mined_negatives_after_them() -> None:
    method = made(pairs=0.4, group=4)
    assert [(stage.name, stage.steps) for stage in engine.stages(method)] == [("pairs", 0.4), ("hard", 0.6)]
    shapes = [method.encode(batch(), Progress(stage=stage)).rows["passage"].shape[1] for stage in ("pairs", "hard")]
    assert shapes == [1, 4]


def test_passages_of_a_teacher_are_its_own_vectors_and_get_no_gradient() -> None:
    method = made(passages="teacher", group=2)
    rows = method.encode(batch(), HARD).rows
    ids, mask = method.teacher.tokenizer(["a dog"], 64)
    torch.testing.assert_close(rows["passage"][0, 0], method.teacher(ids, mask)[0])
    assert rows["query"].requires_grad
    assert not rows["passage"].requires_grad


def test_a_student_that_is_its_teacher_has_nothing_to_learn_from_it() -> None:
    method = made(distil=1.0, group=4)
    torch.testing.assert_close(method(batch(), HARD).parts["distil"], torch.tensor(0.0), rtol=0, atol=1e-6)
    answers = made(distil=1.0, group=4, teacher_reads="answer")(batch(), HARD).parts["distil"]
    assert answers > 1e-3, "it reads other words than the student"


def test_mixes_make_it_harder_and_how_many_are_nearer_than_the_answer_is_told() -> None:
    plain = made(group=4)(batch(), HARD)
    for settings in ({"mix_pairs": True}, {"mix_list": True}, {"mix_pairs": True, "mix_list": True}):
        assert made(group=4, **settings)(batch(), HARD).total > plain.total
    assert 0 <= made(group=4, mix_pairs=True)(batch(), HARD).metrics["harder"] <= 1
    assert "harder" not in plain.metrics


def test_mixed_pairs_are_different_ones_and_shares_are_those_of_beta_2_2() -> None:
    pairs, shares = kalm.mixing_draws(torch.rand(4000, 21 + 21, generator=torch.Generator().manual_seed(0)), 7)
    assert pairs.shape == (4000, 7, 2)
    assert all(len({tuple(pair) for pair in row}) == 7 for row in pairs[:50].tolist())
    assert (pairs[..., 0] < pairs[..., 1]).all()
    assert float(shares.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(shares.var()) == pytest.approx(1 / 20, abs=0.003)
    assert kalm.mixing_draws(torch.rand(2, 4), 2)[0].tolist() == [[[0, 1]], [[0, 1]]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "", "passages": "teacher"}, "there is none"),
        ({"teacher": "", "distil": 1.0}, "there is none"),
        ({"dims": (16,), "dim_weights": (1.0,)}, "vectors have the width 16"),
        ({"dims": (8, 4), "dim_weights": (1.0,)}, "one weight for each|dim_weights"),
        ({"encoder": "ngrams:8", "passages": "teacher"}, "width 8, and passages of 16"),
    ],
)
def test_settings_that_do_not_fit_are_refused_before_training(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        engine.stages(made(**settings))


@pytest.mark.parametrize(
    ("passages", "message"),
    [((("a dog", "a cat"),), "has 2 passages, and 3"), ((("a dog", "a cat", "a dog"),), "among its negatives")],
)
def test_too_few_negatives_or_the_answer_among_them_are_refused(passages: Any, message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        made(group=3)(batch(passages * 2), HARD)
