"""Words and regions of scenes: measures that a perfect method reaches and one that knows nothing does not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from deixis import engine
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import word_regions
from deixis.engine.claims.tasks.word_regions import Options
from deixis.engine.training.batching import collate_for
from deixis.errors import DeixisError
from deixis.methods.uniter import Method
from deixis.types import Batch
from deixis.zoo import scratch

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


def test_captions_may_list_the_nouns_alone_and_know_where_each_stands(task: TrainingTask) -> None:
    listed = word_regions.make(dataclasses.replace(OPTIONS, said="nouns"), 0)
    for plain, sample in zip(task.train.samples, listed.train.samples, strict=True):
        [caption] = sample.captions
        assert caption.split(", ") == [region.category for region in plain.regions]
        for region in sample.regions:
            [(start, stop)] = region.spans
            assert caption[start:stop] == region.category


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


class Reading(Method):
    """Tells every hidden word but a colour, for which it says what stands first; and notes what was hidden."""

    __module__ = Method.__module__
    seen: list[str]

    def tell_words(self, batch: Batch, hidden: Tensor) -> Tensor:
        tokens, _ = batch.caption()
        tokenizer: Any = self.encoder.tokenizer
        words = [" ".join(tokenizer.pieces(row[gap].tolist())) for row, gap in zip(tokens, hidden, strict=True)]
        self.seen += words
        colours = torch.tensor([word in COLOURS for word in words])[:, None]
        return torch.where(colours & hidden, tokens[:, :1], tokens)


def test_nouns_and_colours_are_hidden_one_at_a_time_and_told_one_by_one(task: TrainingTask) -> None:
    words = [caption for sample in task.test.samples for caption in sample.captions]
    method: Any = engine.build("uniter", "tiny", {"proposals": "own:tiny", "sample.length": 40}).eval()
    method.encoder = scratch.build(tuple(words), "tiny", 32)
    method.__class__, method.seen = Reading, []
    nouns, colours = (task.measures[name](method, task.test) for name in ("hidden_nouns", "hidden_colours"))
    assert (float(nouns.mean()), float(colours.mean())) == (1, 0)
    regions = [region for sample in task.test.samples for region in sample.regions]
    assert sorted(method.seen[: len(nouns)]) == sorted(region.category for region in regions)
    assert set(method.seen[len(nouns) :]) <= set(COLOURS)
    assert len(task.measures["hidden_words"](method, task.test)) == len(nouns) + len(colours)


def test_a_plan_is_as_sharp_as_its_entropy_falls_short_of_that_of_the_uniform_one(task: TrainingTask) -> None:
    method: Any = engine.build("uniter", "tiny", {"proposals": "own:tiny", "sample.length": 40}).eval()

    def sharpness(align: Callable[[Batch], Tensor]) -> Tensor:
        method.align = align
        return word_regions.plan_sharpness(method, task.test)

    def alike(batch: Batch) -> Tensor:
        return torch.ones(len(batch), batch.caption()[1].shape[1], batch.valid["T"].shape[1])

    def apart(batch: Batch) -> Tensor:
        """Words point at regions in turn."""
        words, regions = alike(batch).shape[1:]
        return (torch.arange(words)[:, None] % batch.valid["T"].sum(1)[:, None, None] == torch.arange(regions)) * 40.0

    torch.testing.assert_close(sharpness(alike), torch.zeros(12, dtype=torch.float64))
    assert (sharpness(apart) > 0.1).all()
    assert (sharpness(lambda batch: apart(batch) / 40 * 0.002) < 0.1 * sharpness(apart)).all()


def test_what_a_method_does_not_offer_is_refused(task: TrainingTask) -> None:
    for measure in task.measures.values():
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
