"""Words of captions and regions of pictures: does the region that words mean most show the thing they speak of?

The words for a thing stand in the first caption, where the data say so (spans, in characters). The score of a region
for them is the mean over these words, as a method that offers `align` gives it. A thing of which no region is right
can't be found: the share that could be stands beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.grounding import IOU
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from deixis.ops.regions.boxes import box_area, pairwise_iou
from deixis.ops.regions.candidates import pixel_iou
from deixis.types import EvalMetric, EvalProtocol, Region

__all__ = ["PROTOCOL", "SpokenThing", "blind_choices", "measure", "prepare", "right_regions"]

PROTOCOL = EvalProtocol(
    title="Words and regions: is the region that words mean most the thing they speak of?",
    capabilities=(("align",),),
    fields=("images", "captions", "boxes"),
    metrics=(
        EvalMetric("words", "the region of the words"),
        EvalMetric("largest", "the largest region"),
        EvalMetric("first", "the likeliest region"),
        EvalMetric("chance", "any region"),
        EvalMetric("could", "one of the regions is right"),
    ),
    plots=("words", "largest", "first"),
    test="the split `test` if the data has one, else all images; things that the first caption names",
    source="Chen et al. 2020 (UNITER): alignment of words and regions; top-1 at IoU 0.5 is ours",
)


class SpokenThing(NamedTuple):
    """A thing that a caption names.

    Attributes:
        picture: by its place.
        region: the thing.
    """

    picture: int
    region: Region


class WordPlan(NamedTuple):
    """Pictures with captions, and the things that these name."""

    data: EvalSet
    things: Sequence[SpokenThing]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> WordPlan:
    """The pictures with a caption that says where it speaks of a thing.

    Raises:
        DeixisError: no caption says where.
    """
    found = on_test(data.captioned(options.limit, talk.say))
    things = [
        SpokenThing(place, region)
        for place, sample in enumerate(found.samples)
        for region in sample.regions
        if region.spans
    ]
    if not things:
        raise DeixisError(
            f"No caption of {data.source.name} says where it speaks of a thing.",
            "Give boxes with a column `spans` of characters of the caption: set:scenes, or MDETR's form.",
        )
    return WordPlan(found, things)


def measure(plan: WordPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """For each thing whether the best region is right; beside it what reads no words."""
    rows = {name: np.zeros(len(plan.things)) for name in ("words", "largest", "first", "chance", "could")}
    pairs, cut = RegionPairs(model.model), 0
    places = sorted({picture for picture, _ in plan.things})
    samples = [plan.data.samples[place] for place in places]
    with talk.step("align words"):
        captions = [sample.captions[0] for sample in samples]
        found = pairs.by_region(pairs.method.align, [sample.picture for sample in samples], captions)
        answers = dict(zip(places, found, strict=True))
    for number, (picture, region) in enumerate(plan.things):
        answer, caption = answers[picture], plan.data.samples[picture].captions[0]
        if not len(answer.boxes):
            continue
        right = right_regions(answer.boxes, [region])
        tokens = _tokens_of(pairs.tokenizer.words(caption, answer.length), region, len(answer.scores))
        cut += not bool(tokens.any())
        if bool(tokens.any()):
            rows["words"][number] = float(right[answer.scores[tokens].mean(0).argmax()])
        for name, value in blind_choices(answer.boxes, right).items():
            rows[name][number] = value
    names = tuple(f"{plan.data.samples[p].id} {place}" for place, (p, _) in enumerate(plan.things))
    clusters = plan.data.clusters[np.array([picture for picture, _ in plan.things])]
    notes = (f"The words of {cut} things are cut off by the length of the model's texts.",) if cut else ()
    facts = {"images": len(plan.data.samples), "things": len(plan.things), "cut": cut}
    return EvalOutput(
        {"": {Column(name): QueryValues(row, names, clusters) for name, row in rows.items()}}, notes, facts
    )


def right_regions(
    boxes: Float[Tensor, "T 4"], things: Sequence[Region], size: tuple[int, int] | None = None
) -> Bool[Tensor, " T"]:
    """Which regions overlap one of the things by an IoU of 0.5 or more.

    Args:
        boxes: of the regions.
        things: that are meant.
        size: of the picture, in pixels, where the last pixel of a box counts, too.
    """
    meant = torch.tensor([thing.box for thing in things])
    overlaps = pairwise_iou(boxes, meant) if size is None else pixel_iou(boxes, meant, size)
    return (overlaps >= IOU).any(1)


def blind_choices(boxes: Float[Tensor, "T 4"], right: Bool[Tensor, " T"]) -> dict[str, float]:
    """What is right without any words: the largest region, the likeliest, any, and whether one of them is.

    Args:
        boxes: of the regions, the likeliest first; at least one.
        right: which of them are right.
    """
    return {
        "largest": float(right[box_area(boxes).argmax()]),
        "first": float(right[0]),
        "chance": float(right.double().mean()),
        "could": float(right.any()),
    }


def _tokens_of(words: Sequence[tuple[int, int, int, int]], region: Region, count: int) -> Bool[Tensor, " L"]:
    """The tokens of the words that speak of a region."""
    tokens = torch.zeros(count, dtype=torch.bool)
    for start, stop, first, last in words:
        if any(start < end and begin < stop for begin, end in region.spans):
            tokens[first:last] = True
    return tokens
