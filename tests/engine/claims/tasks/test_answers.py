"""The task of answer masks: questions as samples, measured by kind, with unseen pairs of noun and colour."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.data.loading.crops import seen_mask
from deixis.engine.claims.claim_tasks import TrainingTask, make_task
from deixis.engine.training.batching import preprocess_of
from deixis.errors import DeixisError

OPTIONS: dict[str, Any] = {"count": 3, "held": 12, "side": 64, "batch_size": 2, "channels": 4}


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    made = make_task("answers", OPTIONS, 0)
    assert isinstance(made, TrainingTask)
    return made


def method_of(task: TrainingTask) -> Any:
    return engine.build("sentence_attention", "tiny", {}, {"tower": task.encoder(0)})


def test_each_question_is_a_sample_with_the_things_that_its_answer_rests_on(task: TrainingTask) -> None:
    kinds = {sample.extra["kind"] for sample in task.test.samples}
    assert kinds == {"attribute", "object", "yes/no", "count"}
    assert any(not sample.regions for sample in task.test.samples)
    assert all(len(sample.questions) == 1 for sample in task.test.samples)


def test_no_pair_of_noun_and_colour_is_in_two_splits(task: TrainingTask) -> None:
    def pairs(source: Any) -> set[tuple[str, Any]]:
        return {(r.category, r.attributes["colour"]) for sample in source.samples for r in sample.regions}

    assert not pairs(task.train) & pairs(task.test)


def test_who_shows_what_is_asked_has_all_and_who_shows_nothing_only_what_is_not_there(task: TrainingTask) -> None:
    method = method_of(task)
    preprocess, calls = preprocess_of(method), iter(task.test.samples)

    def told(images: Tensor, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        found = torch.zeros(len(images), *images.shape[-2:])
        for row in found:
            for region in next(calls).regions:
                row[seen_mask(region, preprocess)] = 1.0
        return found

    method.answer_mask = told
    assert task.measures["answer_iou"](method, task.test).tolist() == [1.0] * len(task.test.samples)
    method.answer_mask = lambda images, tokens, mask=None: torch.zeros(len(images), *images.shape[-2:])
    values = task.measures["answer_iou"](method, task.test)
    assert values.tolist() == [float(not sample.regions) for sample in task.test.samples]
    related = [s for s in task.test.samples if " the " in s.captions[0].removeprefix("Is the ") and len(s.regions) == 2]
    assert len(task.measures["relation"](method, task.test)) == len(related) > 0
    everything = task.measures["everything"](method, task.test)
    assert 0 < float(everything.mean()) < 1


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(DeixisError, match="questions"):
        make_task("answers", {**OPTIONS, "questions": 0}, 0)
