"""Segmentation by a linear classifier of the cells of a frozen map, a convolution of 1 x 1.

It is fitted on the cells of training images, under the penalty with which pixels of validation images are named best;
its scores are resized to the image. All encoders see the whole of each image, squashed to their square, and are
compared on the same pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.engine.evaluation.cells.linear_cells import LinearCells, cell_labels, fit_linear_cells, mean_iou
from deixis.engine.evaluation.cells.region_data import SIDE, RegionPlan, region_plan
from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "DensePlan", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Segmentation by a linear classifier of the cells of a frozen map",
    capabilities=(("image_tokens",),),
    fields=("images", "masks"),
    metrics=(
        EvalMetric("miou", "mIoU of the things in an image"),
        EvalMetric("class_miou", "mIoU of categories, all images at once"),
    ),
    plots=("miou", "class_miou"),
    test="the split `test`, else two fifths of the images, by concept; the rest is for training, a part of it "
    "validation, which chooses the penalty. At most 600 images, or --limit; categories in fewer than 5 training images "
    "count nowhere, and the background is none",
    source="the linear probe of DINOv2, 2023, on maps that are resized in place of larger images",
    slow=True,
)

_PENALTIES = (1e-7, 1e-5, 1e-3)
_CELLS = 10_000
_TRIAL, _FINAL = 50, 200
"""Iterations of L-BFGS, at the most, while penalties are compared and for what is reported."""


class DensePlan(NamedTuple):
    """Images in parts, and the class of each of their pixels."""

    plan: RegionPlan
    classes: Int64[Tensor, "N S S"]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> DensePlan:
    """The images with masks in three parts."""
    plan = region_plan(data, options, talk, masks=True)
    return DensePlan(plan, plan.class_maps())


def measure(plan: DensePlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """mIoU, one value a test image; and one value a category."""
    (parts, classes), names = plan, plan.plan.names
    maps = model.image_maps(parts.data, talk)
    grid, count = (maps.shape[2], maps.shape[3]), len(names) + 1
    states = maps.flatten(2).transpose(1, 2)

    def fitted(images: tuple[int, ...], penalty: float, iterations: int) -> LinearCells:
        labels = cell_labels(classes[list(images)], count, grid).flatten()
        known = labels.ge(0).nonzero()[:, 0]
        some = known[torch.randperm(len(known), generator=torch.Generator().manual_seed(0))[:_CELLS]]
        rows = states[list(images)].flatten(0, 1)[some]
        return fit_linear_cells(rows, labels[some], count, penalty, iterations)

    def predicted(probe: LinearCells, images: tuple[int, ...]) -> Int64[Tensor, "B S S"]:
        return probe.classes(states[list(images)], grid, (SIDE, SIDE))

    with talk.step("learn"):
        trials = [
            float(
                _ious(predicted(fitted(parts.train, each, _TRIAL), parts.validation), classes, parts.validation).mean()
            )
            for each in _PENALTIES
        ]
        # Of equally good penalties the largest.
        penalty = _PENALTIES[max(range(len(_PENALTIES)), key=lambda i: (trials[i], _PENALTIES[i]))]
        found = predicted(fitted(parts.train + parts.validation, penalty, _FINAL), parts.test)
    test = parts.data.take(parts.test)
    by_class = _class_ious(found, classes[list(parts.test)], count)
    known = np.isfinite(by_class)
    columns = {
        Column("miou"): QueryValues(_ious(found, classes, parts.test).numpy(), test.ids, test.clusters),
        Column("class_miou"): QueryValues(
            by_class[known],
            tuple(name for name, there in zip(names, known, strict=True) if there),
            np.zeros(int(known.sum()), dtype=np.int64),
        ),
    }
    notes = (
        parts.note,
        f"Penalty {penalty:g}, chosen on validation images.",
        "Values of categories have no intervals.",
    )
    return EvalOutput({"": columns}, notes, {"images": len(test.samples), "grid": list(grid), "penalty": penalty})


def _ious(
    predicted: Int64[Tensor, "B S S"], classes: Int64[Tensor, "N S S"], images: tuple[int, ...]
) -> Float[Tensor, " B"]:
    return torch.stack([mean_iou(each, classes[i]) for each, i in zip(predicted, images, strict=True)]).double()


def _class_ious(
    predicted: Int64[Tensor, "B S S"], shown: Int64[Tensor, "B S S"], count: int
) -> Float[np.ndarray, " C"]:
    """Intersection over union of each class but the background over all pixels; NaN for one that is nowhere."""
    inside = shown >= 0
    pairs = torch.bincount(predicted[inside] * count + shown[inside], minlength=count**2).reshape(count, count).double()
    both = pairs.diagonal()
    union = pairs.sum(0) + pairs.sum(1) - both
    found = torch.where(pairs.sum(0) > 0, both / union, torch.nan)[1:]
    return np.asarray(found.numpy())
