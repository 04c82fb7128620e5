"""Segmentation: mIoU of classes of pixels, everything else being one of them; by class, by size, and at outlines.

Classes are the categories of the data, or, of a method that names its own, those of its names that the data has; pixels
of other categories count nowhere. Pictures are compared as they are, at most 512 pixels wide or high.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from deixis import zoo
from deixis.data.loading.crops import WHOLE, on_picture, region_mask, visible_window
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.evaluation.pixels.overlap import Overlap, boundary_f, overlap
from deixis.engine.evaluation.pixels.predicting import best_classes
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.build import build
from deixis.engine.training.train import fit
from deixis.errors import DeixisError
from deixis.inputs.images import shown_size
from deixis.nn.compute import autocast
from deixis.nn.modes import evaluating
from deixis.types import EvalMetric, EvalProtocol, Sample
from deixis.types.protocols import HasFinish, HasNames

__all__ = ["PROTOCOL", "SegmentPlan", "measure", "plain_name", "prepare"]

PROTOCOL = EvalProtocol(
    title="Segmentation: mIoU of classes of pixels, by class and by size, and outlines",
    capabilities=(("segment",), ("encode_image", "encode_text")),
    fields=("images", "masks"),
    metrics=(
        EvalMetric("miou", "mIoU, all pictures at once"),
        EvalMetric("picture_miou", "mIoU of the classes in a picture"),
        EvalMetric("boundary_f", "boundary F"),
        EvalMetric("class_iou", "IoU"),
        EvalMetric("right", "share of a thing's pixels that are right"),
    ),
    plots=("miou", "picture_miou", "boundary_f"),
    test="the split `test` if the data has one, else all images; things below 2 % of a picture are small, from 10 % on "
    "large",
    source="Everingham et al. 2010 (PASCAL VOC: mIoU with background); Csurka et al. 2013 (boundary F)",
    methods=("everywhere", "filled_boxes"),
    slow=True,
)

_LONGEST, _BATCH = 512, 8
_SMALL, _LARGE = 0.02, 0.1
_EVERYWHERE = "everywhere"
"""One class everywhere: the one that takes most pixels of the pictures."""


class SegmentPlan(NamedTuple):
    """Pictures with masks, and the categories that there are."""

    data: EvalSet
    names: tuple[str, ...]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> SegmentPlan:
    """The pictures with masks."""
    every = on_test(data.placed(options.limit, talk.say, masks=True))
    return SegmentPlan(every, tuple(sorted({r.category for s in every.samples for r in s.regions} - {""})))


def measure(plan: SegmentPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """The model's own classes of pixels, where it gives any, and beside them what any model has to beat
    (`--methods`)."""
    names, notes = plan.names, [_NOTE]
    arms: dict[str, Mapping[Column, QueryValues]] = {}
    if "segment" in model.capabilities:
        names = _own_names(model.model)
        if not set(map(plain_name, names)) & set(map(plain_name, plan.names)):
            raise DeixisError(
                f"The model names {', '.join(names[:5])}, and the data {', '.join(plan.names[:5])}: nothing in common.",
                "Give data with masks of the model's classes.",
            )
        with talk.step("segment"):
            arms[""] = _values(plan.data, names, _predicted(model.model, plan.data, len(names), talk))
    for name in options.methods or PROTOCOL.methods:
        with talk.step(name):
            try:
                arms[name] = _values(plan.data, names, _of_method(name, plan.data, names, model, talk))
            except DeixisError as error:
                if options.methods:
                    raise
                notes.append(f"{name} is left out: {error}")
    facts = {"images": len(plan.data.samples), "classes": len(names)}
    return EvalOutput(arms, tuple(notes), facts)


_NOTE = (
    "The background is one of the classes of a mean. mIoU over all pictures has one value a class, hence no interval "
    "over pictures."
)


def _own_names(method: Any) -> tuple[str, ...]:
    if not isinstance(method, HasNames):
        raise DeixisError("The method does not say what its classes are called.", "Give it `names`.")
    return tuple(map(str, method.names))


def plain_name(name: str) -> str:
    """Without article and capitals: `a dog` is `dog`.

    Args:
        name: of a class.
    """
    words = name.casefold().split()
    return " ".join(words[1:] if len(words) > 1 and words[0] in ("a", "an", "the") else words)


Predicted = Iterator[tuple[Sample, Int64[Tensor, "_H _W"]]]


def _of_method(name: str, data: EvalSet, names: Sequence[str], model: EvalModel, talk: EvalReporter) -> Predicted:
    """One class everywhere, or a method that needs no training, with these classes."""
    if name == _EVERYWHERE:
        counts = torch.zeros(len(names) + 1)
        for sample in data.samples:
            counts += torch.bincount(_shown(sample, names).clamp(min=0).flatten(), minlength=len(counts))
        best = int(counts.argmax())
        return ((sample, torch.full(_size(sample)[::-1], best)) for sample in data.samples)
    parts = {"names": list(names), "encoder": model.encoder or zoo.load("starter")}
    method = build(name, parts=parts).eval()
    if isinstance(method, HasFinish):
        fit(method, ())
    return _predicted(method, data, len(names), talk)


def _predicted(method: Any, data: EvalSet, count: int, talk: EvalReporter) -> Predicted:
    """The class of each pixel; what lies outside of the part that a method sees is background."""
    preprocess, samples = preprocess_of(method), data.samples
    device = next((each.device for each in method.parameters()), torch.device("cpu"))
    with evaluating(method), torch.no_grad(), autocast(device), talk.bar("segment pictures") as bar:
        for start in range(0, len(samples), _BATCH):
            some = samples[start : start + _BATCH]
            scores = method.segment(preprocess.read([each.picture for each in some]).to(device)).float().cpu()
            for sample, maps in zip(some, scores, strict=True):
                window = visible_window(preprocess, *shown_size(sample.picture))
                placed = [on_picture(each, window, _size(sample)) for each in maps]
                classes = best_classes(torch.stack([values for values, _ in placed])[None], count)[0]
                yield sample, classes.where(placed[0][1], torch.zeros_like(classes))
            bar(start + len(some), len(samples))


def _size(sample: Sample) -> tuple[int, int]:
    """Width and height that pictures are compared at."""
    width, height = shown_size(sample.picture)
    ratio = min(1.0, _LONGEST / max(width, height))
    return max(1, round(width * ratio)), max(1, round(height * ratio))


def _shown(sample: Sample, names: Sequence[str]) -> Int64[Tensor, "_H _W"]:
    """The right class of each pixel, smaller things above larger ones; -1 for a thing of another category."""
    plain = [plain_name(name) for name in names]
    size = _size(sample)[::-1]
    found = torch.zeros(size, dtype=torch.long)
    masks = [(region_mask(region, WHOLE, size), region.category) for region in sample.regions]
    for mask, category in sorted(masks, key=lambda pair: -int(pair[0].sum())):
        found[mask] = plain.index(plain_name(category)) + 1 if plain_name(category) in plain else -1
    return found


@dataclasses.dataclass
class _Counts:
    """What was counted so far: one value a picture, and of things one a thing."""

    total: Overlap
    pictures: list[float]
    outlines: list[float]
    right: dict[str, list[float]]
    owners: dict[str, list[int]]


def _values(data: EvalSet, names: Sequence[str], predicted: Predicted) -> dict[Column, QueryValues]:
    counts = _Counts(
        Overlap(*torch.zeros(3, len(names) + 1, dtype=torch.float64)),
        [],
        [],
        collections.defaultdict(list),
        collections.defaultdict(list),
    )
    for place, (sample, classes) in enumerate(predicted):
        shown = _shown(sample, names)
        each = overlap(classes, shown, len(names) + 1)
        counts.total = counts.total.plus(each)
        ious = each.iou()
        counts.pictures.append(float(ious[ious.isfinite()].mean()) if bool(ious.isfinite().any()) else 1.0)
        there = [number for number in shown.unique().tolist() if number > 0]
        if there:
            counts.outlines.append(float(np.mean([boundary_f(classes == number, shown == number) for number in there])))
        else:
            counts.outlines.append(float(not bool((classes > 0).any())))
        _count_things(counts, place, sample, classes, names)
    return _columns(data, names, counts)


def _count_things(counts: _Counts, place: int, sample: Sample, classes: Tensor, names: Sequence[str]) -> None:
    plain = [plain_name(name) for name in names]
    for region in sample.regions:
        mask = region_mask(region, WHOLE, (classes.shape[0], classes.shape[1]))
        if plain_name(region.category) in plain and bool(mask.any()):
            share = float(mask.float().mean())
            size = "small" if share < _SMALL else "large" if share >= _LARGE else "medium"
            number = plain.index(plain_name(region.category)) + 1
            counts.right[size].append(float((classes[mask] == number).float().mean()))
            counts.owners[size].append(place)


def _columns(data: EvalSet, names: Sequence[str], counts: _Counts) -> dict[Column, QueryValues]:
    ious, every = counts.total.iou().numpy(), ("background", *names)
    known = np.isfinite(ious)
    there = tuple(name for name, each in zip(every, known, strict=True) if each)
    found = {
        Column("miou"): QueryValues(ious[known], there, np.zeros(len(there), dtype=np.int64)),
        Column("picture_miou"): QueryValues(np.array(counts.pictures), data.ids, data.clusters),
        Column("boundary_f"): QueryValues(np.array(counts.outlines), data.ids, data.clusters),
    }
    for name, value in zip(there, ious[known], strict=True):
        found[Column("class_iou", name)] = QueryValues(np.array([value]), (name,), np.zeros(1, dtype=np.int64))
    for size in ("small", "medium", "large"):
        if values := counts.right.get(size):
            owners = counts.owners[size]
            queries = tuple(f"{data.ids[place]} {number}" for number, place in enumerate(owners))
            found[Column("right", size)] = QueryValues(np.array(values), queries, data.clusters[owners])
    return found
