"""Clusters of cells against masks: whether the places of frozen maps fall into kinds of things without any labels.

The cells of the test images, made of length 1, are clustered by k-means, with as many clusters as there are categories
and the background. Each cluster is named after one category, so that most pixels are right in all (Hungarian matching).
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.engine.evaluation.cells.linear_cells import mean_iou
from deixis.engine.evaluation.cells.region_data import SIDE, RegionPlan, region_plan
from deixis.engine.evaluation.data import EvalData
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.errors import require
from deixis.ops.regions.matching import hungarian, owners
from deixis.types import EvalMetric, EvalProtocol, Picture

__all__ = ["PROTOCOL", "PatchClusters", "PatchPlan", "cluster_names", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Clusters of the cells of a frozen map, compared with masks and drawn",
    capabilities=(("image_tokens",),),
    fields=("images", "masks"),
    metrics=(
        EvalMetric("miou", "mIoU of the things in an image"),
        EvalMetric("purity", "pixels of things whose category is the commonest thing of their cluster"),
    ),
    plots=("miou",),
    test="the split `test`, else two fifths of the images, by concept, of at most 600 or --limit; nothing is learned "
    "but the clusters and which category each stands for, on the same images",
    source="k-means with Hungarian matching, as in PiCIE, 2021",
    slow=True,
)

_CELLS, _STARTS = 10_000, 4
_SHOWN = 6


class PatchPlan(NamedTuple):
    """Test images, and the class of each of their pixels."""

    plan: RegionPlan
    classes: Int64[Tensor, "N S S"]


class PatchClusters(NamedTuple):
    """A few images with the classes of their pixels, for the eye.

    Attributes:
        pictures: the images.
        shown: the right classes; 0 is the background, -1 counts nowhere.
        predicted: those of the clusters.
        names: of the classes from 1 on.
    """

    pictures: list[Picture]
    shown: Int64[Tensor, "n S S"]
    predicted: Int64[Tensor, "n S S"]
    names: tuple[str, ...]


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> PatchPlan:
    """The test images, and their masks.

    Raises:
        DeixisError: scikit-learn is not installed.
    """
    _kmeans()
    plan = region_plan(data, options, talk, masks=True)
    return PatchPlan(plan, plan.class_maps()[list(plan.test)])


def measure(plan: PatchPlan, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Overlap and purity, one value a test image."""
    (parts, classes), count = plan, len(plan.plan.names) + 1
    test = parts.data.take(parts.test)
    maps = model.image_maps(test, talk)
    grid = (maps.shape[2], maps.shape[3])
    with talk.step("cluster"):
        clusters = _clusters(maps.flatten(2).transpose(1, 2), count)
    pixels = F.interpolate(clusters.unflatten(1, grid)[:, None].double(), size=(SIDE, SIDE), mode="nearest")[
        :, 0
    ].long()
    table = _table(pixels, classes, count)
    predicted = cluster_names(table)[pixels]
    ious = torch.stack([mean_iou(*each) for each in zip(predicted, classes, strict=True)]).double()
    things = classes > 0
    right = (table[:, 1:].argmax(dim=1) + 1)[pixels] == classes
    columns = {
        Column("miou"): ious.numpy(),
        Column("purity"): np.asarray(((right & things).sum((1, 2)).double() / things.sum((1, 2))).numpy()),
    }
    note = f"{len(test.samples)} images, {count} clusters of {clusters.numel()} cells."
    shown = PatchClusters(test.pictures[:_SHOWN], classes[:_SHOWN], predicted[:_SHOWN], parts.names)
    output = EvalOutput.of(columns, test, [note], grid=list(grid), clusters=count)
    return EvalOutput(output.arms, output.notes, output.facts, shown)


def cluster_names(table: Int64[Tensor, "C C"]) -> Int64[Tensor, " C"]:
    """The class that each cluster stands for, each class once, so that most pixels are right.

    Args:
        table: how many pixels of each cluster (row) are of each class.
    """
    match = hungarian(-table.double()[None], torch.ones(1, len(table), dtype=torch.bool))
    return owners(match, len(table))[0]


def _table(clusters: Int64[Tensor, "B S S"], classes: Int64[Tensor, "B S S"], count: int) -> Int64[Tensor, "C C"]:
    known = classes >= 0
    return torch.bincount(clusters[known] * count + classes[known], minlength=count**2).reshape(count, count)


def _clusters(states: Float[Tensor, "B N D"], count: int) -> Int64[Tensor, "B N"]:
    rows = F.normalize(states.flatten(0, 1).double(), dim=1).numpy()
    some = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))[:_CELLS].numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", require("sklearn.exceptions", "eval", "cluster cells").ConvergenceWarning)
        found = _kmeans()(n_clusters=count, n_init=_STARTS, random_state=0).fit(rows[some]).predict(rows)
    return torch.from_numpy(found.astype(np.int64)).unflatten(0, states.shape[:2])


def _kmeans() -> Any:
    return require("sklearn.cluster", "eval", "cluster cells").KMeans
