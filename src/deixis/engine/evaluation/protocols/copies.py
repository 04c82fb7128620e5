"""Altered copies of images look for their originals among all images.

The edits of an image hang on its content alone, so that all models see the same copies. Near-duplicates of the original
count as found, and are one concept for intervals.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.data.quality.altered_copies import EDITS, AlteredCopy
from deixis.engine.evaluation.data import EvalData, EvalSet, on_test, redrawn
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter
from deixis.errors import DeixisError
from deixis.ops.similarity.copies import copy_matches
from deixis.types import EvalMetric, EvalProtocol

__all__ = ["PROTOCOL", "edited", "measure", "prepare"]

PROTOCOL = EvalProtocol(
    title="Altered copies that find their original: crops, JPEG, filters, mirrors, borders, stickers, screenshots",
    capabilities=(("encode_image",), ("adapters",)),
    fields=("images",),
    metrics=(EvalMetric("recall1", "R@1"), EvalMetric("micro_ap", "micro-AP")),
    plots=("recall1",),
    axis="edit",
    test="the split `test`, else all; nothing is learned; at most 1,000 images, or --limit",
    source="Douze et al. 2021 (DISC): micro average precision",
    slow=True,
)

_MOST = 1000
_ALL = "all edits"


def edited(data: EvalSet, edit: str) -> EvalSet:
    """The images of a set after an edit, drawn when they are read.

    Args:
        data: the originals.
        edit: one of `EDITS`.
    """
    return redrawn(data, edit, lambda picture, digest: AlteredCopy(picture, edit, digest))


def prepare(data: EvalData, options: EvalOptions, talk: EvalReporter) -> EvalSet:
    """The originals.

    Raises:
        DeixisError: no two of them differ.
    """
    every = on_test(data.pictured(options.limit or _MOST, talk.say))
    if len(set(every.groups)) < 2:
        raise DeixisError("All images are near-duplicates of one another.", "Give two that differ.")
    return every


def measure(plan: EvalSet, model: EvalModel, options: EvalOptions, talk: EvalReporter) -> EvalOutput:
    """Recall and precision of each edit, one value an image, and their means over the edits."""
    groups = torch.tensor(plan.groups)
    images = _unit(model.image_features(plan, talk))
    found: dict[str, list[np.ndarray]] = {metric.name: [] for metric in PROTOCOL.metrics}
    for edit in EDITS:
        matches = copy_matches(_unit(model.image_features(edited(plan, edit), talk)), images, groups)
        found["recall1"].append(matches.first.double().numpy())
        found["micro_ap"].append(matches.precision.numpy())
    columns = {
        Column(metric, condition): values
        for metric, rows in found.items()
        for condition, values in zip((_ALL, *EDITS), (np.mean(rows, axis=0), *rows), strict=True)
    }
    notes = [f"{len(plan.samples)} images; a copy looks among all of them. micro-AP of all edits is their mean."]
    return EvalOutput.of(columns, plan, notes, edits=list(EDITS))


def _unit(rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
    return F.normalize(rows.double(), dim=1)
