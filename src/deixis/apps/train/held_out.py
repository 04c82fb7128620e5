"""What of DATA are samples of a method, and which are not trained on, so that it can be measured on them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from deixis.apps.common.console import Reporter
from deixis.apps.train.image_division import ImageDivision, divide_images, learns_from_images_alone, require_crops
from deixis.apps.train.settings import TrainSettings
from deixis.data.aspects import column_triplets
from deixis.data.grounding import answer_masks, referring
from deixis.data.splits import MIN_GROUPS, concept_groups, split
from deixis.engine.column_answers import hold_out_answers
from deixis.engine.evaluation.retrieval_eval import can_classify, can_retrieve
from deixis.engine.passages_eval import finds_passages
from deixis.engine.training.stages import card_of, config_specs, group_size
from deixis.methods import read
from deixis.types import Sample, SampleSpec, Source
from deixis.types.protocols import AnyMethod

__all__ = ["DataDivision", "divide", "held_out", "one_by_one"]

_HELD = 1000
_RESPECTS = (
    "Nothing is held out: values that repeat are no texts to be found by. How alike pictures are in a respect is "
    "measured by: deixis adapt DATA --about COLUMN"
)


class DataDivision(NamedTuple):
    """What a method learns from, and what it is measured on.

    Attributes:
        train: the samples it learns from.
        held: those it is measured on during the run; None: none.
        images: by which encoders are compared at the end, of a method that learns from images alone.
        asked: questions about columns, which are put at the end; None: none.
        notes: for a person.
    """

    train: Source
    held: Source | None = None
    images: ImageDivision | None = None
    asked: Source | None = None
    notes: Sequence[str] = ()


def divide(source: Source, method: AnyMethod, settings: TrainSettings, talk: Reporter) -> DataDivision:
    """Sorts the samples.

    Args:
        source: all samples that can be used.
        method: that is trained.
        settings: of the run.
        talk: receives the progress.
    """
    if settings.ask:
        train, asked, notes = hold_out_answers(source, settings.held_out, settings.seed)
        return DataDivision(train, asked=asked, notes=notes)
    if learns_from_images_alone(method):
        require_crops(method)
        train, images, notes = divide_images(source, settings.held_out, settings.seed, talk)
        return DataDivision(train, images=images, notes=notes)
    train, held, notes = held_out(source, method, settings)
    return DataDivision(train, held, notes=notes)


def held_out(source: Source, method: AnyMethod, settings: TrainSettings) -> tuple[Source, Source | None, list[str]]:
    """What is learned from, what is measured on, and why nothing is where nothing is.

    Args:
        source: all samples that can be used.
        method: that is trained.
        settings: of the run.
    """
    if not settings.held_out:
        return source, None, []
    if "encode_about" in card_of(method).capabilities:
        return source, None, [_RESPECTS]
    labels = None
    if can_retrieve(method) or finds_passages(method):
        if not all(sample.words for sample in source.samples):
            return source, None, ["Nothing is held out: some samples have no words to be found by."]
    elif can_classify(method) and all(sample.label for sample in source.samples):
        labels = [sample.label for sample in source.samples]
    else:
        return source, None, ["Nothing is held out: there is nothing to measure the method by on this data."]
    samples = _whole_texts(source.samples) if settings.sentences or _reads_sentences(method) else source.samples
    told_by_group = labels or group_size(method) > 1
    groups = concept_groups(_unworded(samples) if told_by_group else samples)
    if len(set(groups)) < MIN_GROUPS:
        few = f"Nothing is held out: there are {len(set(groups))} concepts, and {MIN_GROUPS} are needed."
        return source, None, [few]
    share = 1 - min(settings.held_out, _HELD / len(source.samples))
    parts = split(groups, settings.seed, share, labels=labels)
    known = {source.samples[i].label for i in parts.train} if labels else set()
    test = [i for i in parts.test if not labels or labels[i] in known]
    if not test:
        return source, None, ["Nothing is held out: every class has one image."]
    train = sorted({*range(len(source.samples))}.difference(test))  # with classes of which nothing else is there
    sides = (dataclasses.replace(source, samples=tuple(source.samples[i] for i in part)) for part in (train, test))
    return next(sides), next(sides), []


def _unworded(samples: Sequence[Sample]) -> list[Sample]:
    """Where classes are distinguished, images of one caption are not one thing."""
    return [dataclasses.replace(sample, captions=()) for sample in samples]


def _reads_sentences(method: AnyMethod) -> bool:
    return any(spec.sentences for spec in config_specs(method, SampleSpec))


def _whole_texts(samples: Sequence[Sample]) -> list[Sample]:
    """Many pictures have a sentence such as "It is on the left.": only those of which all is equal show one concept."""
    return [dataclasses.replace(each, captions=(" ".join(each.captions),) if each.captions else ()) for each in samples]


def one_by_one(name: str, source: Source) -> Source:
    """The samples that a method learns from: each question, where it learns where answers lie; each expression, among
    all regions of its picture, where it learns which region is meant; each value in a column, where it learns in which
    respect pictures are alike; else those that there are.

    Args:
        name: of the method.
        source: as it was read.

    Raises:
        DeixisError: no question says which masks its answer rests on, no region has a phrase, or no column has values
            that repeat.
    """
    capabilities = read(name).card.capabilities
    if "answer_mask" in capabilities:
        return answer_masks(source)
    if "encode_about" in capabilities and not any("instruction" in sample.extra for sample in source.samples):
        return column_triplets(source)
    means_one = "refer" in capabilities and "match" not in capabilities
    return referring(source, "phrase", among="all") if means_one else source
