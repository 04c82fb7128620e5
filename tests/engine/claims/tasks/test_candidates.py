"""The task of contexts: candidates with codes, expressions asked by family, rules that need no method."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deixis import engine
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.errors import DeixisError
from deixis.methods import variational_context
from deixis.types import Batch, GroundOutput

OPTIONS: dict[str, Any] = {"count": 4, "held": 16, "side": 64, "batch_size": 4, "objects": (4, 4)}


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    made = make_task("candidates", OPTIONS, 0)
    assert isinstance(made, TrainingTask)
    return made


def knowing(right: bool) -> Any:
    """Chooses what is meant, or always another."""

    def ground_batch(batch: Batch, sentence: bool = False) -> GroundOutput:
        boxes, targets = batch.extra["region_boxes"], batch.extra["targets"]
        same = (boxes == targets).all(-1) & batch.valid["T"]
        scores = (same if right else ~same & batch.valid["T"]).double()
        return GroundOutput(boxes, scores[:, None], batch.valid["T"])

    return ground_batch


def test_codes_belong_to_the_picture_and_not_to_the_expression(task: TrainingTask) -> None:
    first = task.train.samples[0]
    same = [s for s in task.train.samples if s.id.partition("#")[0] == first.id.partition("#")[0]]
    assert len(same) > 1
    for other in same:
        assert (other.extra["region_features"] == first.extra["region_features"]).all()
        assert other.extra["region_features"].shape == (len(first.regions), 13 + 8 + 3)


def test_who_knows_chooses_rightly_in_all_families_and_who_does_not_never(task: TrainingTask) -> None:
    method = engine.build("variational_context", "tiny", {"proposals": "", "features": 24})
    for right in (True, False):
        method.ground_batch = knowing(right)  # type: ignore[union-attr]
        for metric in ("context", "needed", "existential", "unary", "referring"):
            values = task.measures[metric](method, task.test)
            assert values.tolist() == [float(right)] * len(values) != []


def test_families_are_asked_apart_and_relations_only_where_they_are_needed(task: TrainingTask) -> None:
    method: variational_context.Method = engine.build("variational_context", "tiny", {"proposals": "", "features": 24})  # type: ignore[assignment]
    told = [(s.extra["family"], s.extra["needed"]) for s in task.test.samples]
    counts = {name: len(task.measures[name](method, task.test)) for name in ("needed", "existential", "context")}
    assert counts["needed"] == told.count(("relation", True)) > 0
    assert counts["existential"] == sum(family == "existential" for family, _ in told)
    assert counts["context"] == 2 * min(counts["needed"], counts["existential"])


def test_rules_that_need_no_method_lie_between_none_and_all(task: TrainingTask) -> None:
    method = engine.build("variational_context", "tiny")  # which is not asked
    noun, chance = (task.measures[name](method, task.test) for name in ("noun_alone", "chance"))
    assert 0 < float(chance.mean()) < float(noun.mean()) < 1
    assert torch.equal(noun > 0, torch.ones_like(noun, dtype=torch.bool))


@pytest.mark.parametrize("wrong", [{"count": 1}, {"held": 0}, {"noise": -1.0}], ids=str)
def test_options_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeixisError, match=next(iter(wrong))):
        make_task("candidates", {**OPTIONS, **wrong}, 0)
