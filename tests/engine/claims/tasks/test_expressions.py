"""The task of grounding: expressions of scenes, asked by family, answered from columns as from the pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from deixis import engine
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.engine.claims.tasks import expressions
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.methods import mdetr
from deixis.ops.regions.boxes import iou
from deixis.types import Batch, GroundOutput
from tests.commands import own_cache

OPTIONS: dict[str, Any] = {
    **{"cast": "shapes", "nouns": (), "objects": (3, 3), "count": 2, "held": 3},
    **{"side": 48, "model": "tiny", "batch_size": 2},
}
AT_REST = {"queries": "proposals", "proposals": "tiny", "thaw": (), "thaw_text": (), "masks": False}
PLAIN = {"final": False, "questions": (), "contrast": 0.0}


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingTask]:
    with own_cache(tmp_path_factory.mktemp("expressions")):
        made = make_task("expressions", OPTIONS, 0)
        assert isinstance(made, TrainingTask)
        yield made


def pointing(right: bool) -> Any:
    """Finds what is meant, as it is told, or always the corner."""

    def ground_batch(batch: Batch, sentence: bool = False) -> GroundOutput:
        assert batch.boxes is not None
        corner = torch.tensor([0.0, 0.0, 0.01, 0.01]).expand(len(batch), 1, 4)
        boxes, count = torch.cat([batch.boxes, corner], dim=1), batch.boxes.shape[1]
        scores = torch.eye(count, count + 1) if right else torch.arange(count + 1.0).expand(count, -1)
        real = torch.ones(boxes.shape[:2], dtype=torch.bool)
        return GroundOutput(boxes, scores.expand(len(batch), -1, -1), real)

    return ground_batch


def built(**more: Any) -> mdetr.Method:
    method: mdetr.Method = engine.build("mdetr", "tiny", {**AT_REST, **PLAIN, **more})
    return method.eval()


def test_each_expression_is_a_sample_and_splits_share_no_picture(task: TrainingTask) -> None:
    parts = [task.train, task.validation, task.test]
    assert all(len(sample.regions) == len(sample.captions) == 1 for part in parts for sample in part.samples)
    assert not {s.id for s in task.train.samples} & {s.id for s in task.test.samples}
    families = {sample.extra["family"] for part in parts for sample in part.samples}
    assert families == {"unary", "comparison", "relation"}


@pytest.mark.parametrize("metric", ["relation", "recall_at_1"])
def test_who_knows_finds_all_and_who_points_at_the_corner_nothing(task: TrainingTask, metric: str) -> None:
    method, measure = built(), task.measures[metric]
    for right in (True, False):
        method.ground_batch = pointing(right)  # type: ignore[method-assign]
        values = measure(method, task.test)
        assert values.tolist() == [float(right)] * len(values) != []


def test_families_are_asked_apart_and_relations_only_where_the_noun_has_rivals(task: TrainingTask) -> None:
    method = built()
    counts = {name: len(task.measures[name](method, task.test)) for name in ("relation", "comparison", "unary")}
    asked = [(s.extra["family"], s.extra["rivals"] > 0) for s in task.test.samples]
    assert counts["relation"] == asked.count(("relation", True))
    assert counts["unary"] == sum(family == "unary" for family, _ in asked)


@pytest.mark.slow
def test_columns_give_the_answers_that_looking_again_gives(task: TrainingTask) -> None:
    method = built()
    quick = task.measures["referring"](method, task.test)
    slow = []
    with torch.no_grad():
        for sample in task.test.samples:
            pixels = method.tower.preprocess.batch([sample.picture.draw()])
            best = method.ground(pixels, *method.text.tokenizer([sample.captions[0]], 64)).best()[0][0, 0, 0]
            slow.append(float(iou(best, torch.tensor(sample.regions[0].box)) >= 0.5))
    assert quick.tolist() == slow


def test_merged_captions_hold_several_phrases(task: TrainingTask) -> None:
    merged = make_task("expressions", {**OPTIONS, "merged": True}, 0)
    assert isinstance(merged, TrainingTask)
    assert len(merged.train.samples) < len(task.train.samples)
    assert sum(len(s.regions) for s in merged.train.samples) == len(task.train.samples)


def test_what_can_not_be_measured_is_refused(task: TrainingTask) -> None:
    with pytest.raises(DeixisError, match="clip finds no phrases from columns"):
        expressions.found(engine.build("clip", "tiny"), task.test)
    with pytest.raises(DeixisError, match="no expression of this family"):
        expressions.found(built(), dataclasses.replace(task.test, samples=()))
    with pytest.raises(DeixisError, match="held is 1"):
        make_task("expressions", {**OPTIONS, "held": 1}, 0)


def test_a_claim_of_mdetr_is_made_of_settings_that_its_arms_have() -> None:
    for claim in mdetr.CLAIMS:
        for arm in claim.arms.values():
            assert configure(arm.method, "desk", {**arm.overrides, **{k: v[0] for k, v in arm.grid.items()}})
