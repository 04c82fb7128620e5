"""Which of the regions does an expression mean? For methods that choose among the regions of a picture.

Each phrase is a sentence of its own. A phrase of which no region is right can't be found: the share that could be
stands beside, and so do choices that read no words, and those of a method without training that
orders the same regions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis import zoo
from deixis.engine.evaluation.data import EvalData, on_test
from deixis.engine.evaluation.grounders import answer_by_method
from deixis.engine.evaluation.grounding import phrase_queries
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues, difference
from deixis.engine.evaluation.protocols.grounding import PhrasePlan
from deixis.engine.evaluation.protocols.word_region import blind_choices, right_regions
from deixis.engine.features.region_pairs import RegionPairs
from deixis.engine.training.build import build
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.inputs.images import shown_size
from deixis.ops.regions.boxes import pairwise_iou
from deixis.types import EvalMetric, EvalProtocol
from deixis.types.protocols import OffersGround, Proposals

__all__ = ["PROTOCOL", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Which of the regions is meant: accuracy of the one that an expression chooses",
    capabilities=(("refer",),),
    fields=("images", "boxes", "phrases"),
    metrics=(
        EvalMetric("accuracy", "the region chosen"),
        EvalMetric("largest", "the largest region"),
        EvalMetric("first", "the likeliest region"),
        EvalMetric("chance", "any region"),
        EvalMetric("could", "one of the regions is right"),
    ),
    plots=("accuracy", "largest", "first"),
    axis="family of phrase",
    test="the split `test` if the data has one, else all images; one phrase at a time",
    source="Yu et al. 2016 (RefCOCO: accuracy at IoU 0.5; published numbers are those of --inclusive-pixels)",
    methods=("detect_match",),
)


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> PhrasePlan:
    """The pictures, and their phrases for what is there."""
    some = on_test(data.boxed(options.limit, talk.say, phrases=True))
    return PhrasePlan(some, [query for query in phrase_queries(some.samples) if query.regions])


def measure(plan: PhrasePlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """For each phrase whether the region chosen is one that it names, in all and by family; beside it the regions that
    methods without training choose out of the same (`--methods`)."""
    data, queries = plan
    rows = {metric.name: np.zeros(len(queries)) for metric in PROTOCOL.metrics}
    pairs, pictures = RegionPairs(model.model), [data.samples[query.picture].picture for query in queries]
    rights: list[_Regions] = []
    with talk.step("choose regions"), talk.bar("choose regions") as bar:
        found = pairs.by_region(pairs.method.refer, pictures, [query.phrase for query in queries])
        for number, (query, picture, answer) in enumerate(zip(queries, pictures, found, strict=True)):
            bar(number + 1, len(queries))
            size = shown_size(picture) if options.inclusive_pixels else None
            right = right_regions(answer.boxes, query.regions, size)
            rights.append(_Regions(answer.boxes, right))
            if not len(right):
                continue
            values = {"accuracy": float(right[answer.scores.argmax()]), **blind_choices(answer.boxes, right)}
            for name, value in values.items():
                rows[name][number] = value
    arms = {"": _columns(plan, rows)}
    notes = [_NOTE, *(_ahead(arms[""], blind, arms[""], name) for blind, name in _BLIND.items())]
    for name in options.methods or PROTOCOL.methods:
        try:
            arms[name] = _columns(plan, {"accuracy": _chosen_by(name, plan, model, rights, talk)})
        except DeixisError as error:
            if options.methods:
                raise
            notes.append(f"{name} is left out: {error}")
        else:
            notes.append(_ahead(arms[""], "accuracy", arms[name], name))
    return EvalOutput(arms, tuple(notes), {"images": len(data.samples), "phrases": len(queries)})


_NOTE = "Phrases of one picture are drawn together. Points are of 100 phrases, with 95 % intervals of the difference."
_BLIND = {"largest": "the largest region", "first": "the likeliest region"}
_ALL, _SAME = 10_000, 0.9


class _Regions(NamedTuple):
    """The regions of a phrase's picture, and which of them are right."""

    boxes: Float[Tensor, "T 4"]
    right: Bool[Tensor, " T"]


def _columns(plan: PhrasePlan, rows: Mapping[str, Float[np.ndarray, " Q"]]) -> dict[Column, QueryValues]:
    """In all and by family."""
    data, queries = plan
    families = np.array([query.family for query in queries])
    names = np.array([f"{data.samples[query.picture].id}: {query.phrase}" for query in queries], object)
    clusters = data.clusters[np.array([query.picture for query in queries])]
    columns = {}
    for name, row in rows.items():
        for family in ("", *sorted(set(families.tolist()))):
            some = families == family if family else np.ones(len(queries), dtype=bool)
            columns[Column(name, family)] = QueryValues(row[some], tuple(names[some]), clusters[some])
    return columns


def _chosen_by(
    name: str, plan: PhrasePlan, model: EvalModel, regions: Sequence[_Regions], talk: EvalReporter
) -> Float[np.ndarray, " Q"]:
    """Whether the region that a method without training likes best of the same detector's is right."""
    proposals = getattr(model.model, "proposals", None)
    if not isinstance(proposals, Proposals):
        raise DeixisError("The regions are no detector's.", "Measure a run that was trained on those of one.")
    parts = {"proposals": proposals, "encoder": model.encoder or zoo.load("starter")}
    method = build(name, parts=parts).eval()
    if not offers(method, OffersGround):
        raise DeixisError(f"{name} does not locate phrases.", "Name a method that offers `ground`, with no training.")
    with talk.step(name), talk.bar(name) as bar:
        answers = answer_by_method(method, plan.data, plan.queries, bar, _ALL)
    values = np.zeros(len(answers))
    for number, (answer, (boxes, right)) in enumerate(zip(answers, regions, strict=True)):
        overlaps = pairwise_iou(answer.boxes, boxes)  # a method may have more regions, such as the whole picture
        same = overlaps.amax(1) >= _SAME if overlaps.numel() else torch.zeros(0, dtype=torch.bool)
        if bool(same.any()):
            values[number] = float(right[overlaps[same][0].argmax()])
    return values


def _ahead(own: Mapping[Column, QueryValues], metric: str, other: Mapping[Column, QueryValues], name: str) -> str:
    """By how much more phrases the region chosen is right, with an interval."""
    value, low, high = difference(own[Column("accuracy")], other[Column(metric)])
    interval = "" if low is None or high is None else f" ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"Beside {name}: {100 * value:+.1f} points{interval}."
