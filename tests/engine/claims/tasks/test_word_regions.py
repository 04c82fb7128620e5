"""Words and regions of scenes: measures that a perfect method reaches and one that knows nothing does not."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import word_regions
from deixis.engine.claims.tasks.word_regions import Options
from deixis.engine.training.batching import collate_for
from deixis.errors import DeixisError
from deixis.methods.uniter import Method
from deixis.types import Batch

OPTIONS = Options(cast="shapes", nouns=(), count=6, held=12, side=64, labels=5, batch_size=2)


@pytest.fixture(scope="module")
def task() -> TrainingTask:
    return word_regions.make(OPTIONS, 0)


@pytest.fixture(scope="module")
def method() -> Method:
    changes = {"proposals": "own:tiny", "sample.length": 40, "head": "refer"}
    return engine.build("uniter", "tiny", changes).eval()  # type: ignore[return-value]


def test_captions_are_learned_from_or_expressions_alone_of_which_there_are_as_many_as_labels(
    task: TrainingTask,
) -> None:
    assert len(task.train.samples) == 6
    assert all(len(each.captions) == 1 for each in task.train.samples)
    phrases = task.sources["phrases"].samples
    assert len(phrases) == 5
    assert all(len(each.extra["targets"]) == 1 and len(each.regions) > 1 for each in phrases)
    alone = word_regions.make(dataclasses.replace(OPTIONS, learn="phrases"), 0)
    assert [each.id for each in alone.train.samples] == [each.id for each in phrases]


class Knowing(Method):
    """Knows the target of each expression, and the words for each region."""

    __module__ = Method.__module__  # whose card is its own

    def refer(self, batch: Batch) -> Tensor:
        assert batch.boxes is not None
        return -(batch.boxes - batch.extra["targets"][:, :1]).abs().sum(-1) - 9.0 * ~batch.valid["T"]

    def align(self, batch: Batch) -> Tensor:
        spans, boxes = batch.extra["word_spans"], batch.boxes
        assert batch.tokens is not None
        assert boxes is not None
        found = torch.zeros(len(batch), batch.tokens.shape[2], boxes.shape[1])
        for row, own in enumerate(spans.tolist()):
            for number, words in enumerate(own):
                for start, stop in words:
                    same = (boxes[row] == batch.extra["targets"][row, number]).all(-1)
                    found[row, start:stop] = same.float()
        return found


def test_a_method_that_knows_reaches_one_and_another_does_not(task: TrainingTask, method: Method) -> None:
    knowing = engine.build("uniter", "tiny", {"proposals": "own:tiny", "sample.length": 40, "head": "refer"}).eval()
    knowing.__class__ = Knowing
    for measure in (word_regions.aligned, word_regions.referred):
        assert measure(knowing, task.test).mean() == 1
        values = measure(method, task.test)
        assert len(values) > 0
        assert values.mean() < 1
    assert len(word_regions.matched(method, task.test)) == 12


def test_what_a_method_does_not_offer_is_refused(task: TrainingTask) -> None:
    for measure in (word_regions.aligned, word_regions.referred, word_regions.matched):
        with pytest.raises(DeixisError, match="bag_of_words does not"):
            measure(engine.build("bag_of_words", "tiny"), task.test)


def test_the_head_of_regions_draws_from_the_expressions_where_captions_are_learned_first(
    task: TrainingTask, method: Method
) -> None:
    pretrain, refer = engine.stages(method)
    assert (pretrain.data, refer.data) == ("", "phrases")
    encode = collate_for(method, task.sources["phrases"], refer)
    batch = encode(task.sources["phrases"].samples[0])
    assert batch.extra["targets"].shape == (1, 1, 4)
    assert batch.boxes is not None
    assert batch.boxes.shape[1] == len(task.sources["phrases"].samples[0].regions)
