"""Images by the prototype that they are nearest to: a csv to begin labels with, and a sheet to look at."""

from __future__ import annotations

import collections
import csv
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.apps.common.console import Reporter
from deixis.apps.label.label_table import COLUMNS
from deixis.apps.train.image_files.sheets import thumbnail, write_sheet
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.model import EvalModel, preprocess_of
from deixis.files import atomic_path
from deixis.types import place
from deixis.types.protocols import HasPrototypeScores

__all__ = ["SHEET", "TABLE", "write_groups"]

TABLE, SHEET = "groups.csv", "groups.jpg"

_MOST = 10_000
_ROWS, _ACROSS = 16, 8


class _Prototypes(nn.Module):
    """A method as an encoder whose features are its scores."""

    def __init__(self, method: HasPrototypeScores) -> None:
        super().__init__()
        self.method = method
        self.preprocess = preprocess_of("the method", method)

    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B K"]:
        return self.method.prototype_scores(images)


def write_groups(method: HasPrototypeScores, data: EvalSet, out: Path) -> int:
    """Writes `groups.csv`, a table as `deixis label` begins one with the columns `prototype` and `similarity` beside:
    the largest group first, in each the image nearest to its prototype; and `groups.jpg` with the first of each.

    Args:
        method: with prototypes.
        data: images, of which the first `_MOST` are sorted.
        out: the run folder.

    Returns:
        How many groups have an image.
    """
    data = data.take(range(min(_MOST, len(data.samples))))
    scores = EvalModel("prototypes", _Prototypes(method)).image_features(data, Reporter(quiet=True))
    groups = _sorted(scores)
    samples, nearest = data.samples, scores.max(dim=1).values.tolist()
    rows = [
        (place(samples[i].picture), "", samples[i].label or "", prototype, f"{nearest[i]:.3f}")
        for prototype, members in groups
        for i in members
    ]
    with atomic_path(out / TABLE) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([(*COLUMNS, "prototype", "similarity"), *rows])
    write_sheet(
        out / SHEET, [[thumbnail(samples[i].picture) for i in members[:_ACROSS]] for _, members in groups[:_ROWS]]
    )
    return len(groups)


def _sorted(scores: Float[Tensor, "N K"]) -> list[tuple[int, list[int]]]:
    """Prototypes and their images, the largest group first, in each the nearest image."""
    members: dict[int, list[int]] = collections.defaultdict(list)
    for i in torch.argsort(scores.max(dim=1).values, descending=True, stable=True).tolist():
        members[int(scores[i].argmax())].append(i)
    return sorted(members.items(), key=lambda each: (-len(each[1]), each[0]))
