"""Average precision of boxes at an IoU of 0.5, as COCO computes it, without its package.

Of each image and category the 100 best boxes are matched, best first, each with the box of the data that it overlaps
most and that none before it has. AP is the mean, over the recalls 0, 0.01, ... 1, of the best precision at that recall
or a higher one.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float

from deixis.engine.evaluation.average_precision import BoxRow
from deixis.ops.regions.boxes import pairwise_iou

__all__ = ["average_precision_50"]

_IOU, _BOXES = 0.5, 100


def average_precision_50(
    categories: int, truth: Sequence[BoxRow], predicted: Sequence[BoxRow]
) -> Float[np.ndarray, " C"]:
    """AP of each category; NaN for one that the data has no box of.

    Args:
        categories: how many there are.
        truth: boxes of the data.
        predicted: boxes with scores.
    """
    wanted, given = _by_place(truth), _by_place(predicted)
    found = np.full(categories, np.nan)
    for category in range(categories):
        pictures = sorted({p for p, c in wanted if c == category} | {p for p, c in given if c == category})
        total = sum(len(wanted.get((p, category), ())) for p in pictures)
        if not total:
            continue
        scores, right = list[float](), list[bool]()
        for picture in pictures:
            own = sorted(given.get((picture, category), ()), key=lambda row: -row.score)[:_BOXES]
            scores += [row.score for row in own]
            right += _matched(own, wanted.get((picture, category), ()))
        found[category] = _average(np.array(scores), np.array(right, dtype=bool), total)
    return found


def _by_place(rows: Sequence[BoxRow]) -> dict[tuple[int, int], list[BoxRow]]:
    found = collections.defaultdict(list)
    for row in rows:
        found[row.picture, row.category].append(row)
    return dict(found)


def _matched(predicted: Sequence[BoxRow], truth: Sequence[BoxRow]) -> list[bool]:
    """Whether each box, best first, is matched."""
    if not predicted or not truth:
        return [False] * len(predicted)
    boxes, others = (torch.tensor([row.box for row in rows], dtype=torch.float64) for rows in (predicted, truth))
    overlap, right = pairwise_iou(boxes, others).numpy(), list[bool]()
    for row in overlap:
        best = len(row) - 1 - int(row[::-1].argmax())  # of equal ones the last, as COCO has it
        right.append(bool(row[best] >= _IOU))
        if right[-1]:
            overlap[:, best] = -1.0  # nobody else's
    return right


def _average(scores: Float[np.ndarray, " N"], right: np.ndarray, total: int) -> float:
    order = np.argsort(-scores, kind="stable")
    hits = right[order].cumsum()
    recall, precision = hits / total, hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    places = np.searchsorted(recall, np.linspace(0.0, 1.0, 101), side="left")
    return float(best[places].mean())
