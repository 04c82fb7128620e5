"""How well classes of pixels agree: intersection over union of each class over all pictures, and outlines.

    IoU of a class = pixels that are and are said to be of it / pixels that are or are said to be of it

summed over all pictures; mIoU is the mean over the classes that are shown anywhere. Pixels of class -1 count nowhere.

    boundary F = 2 P R / (P + R),  P: share of the predicted outline that lies near the right one,  R: the reverse

(Csurka et al. 2013; near: within 0.75 % of the diagonal).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = ["NEAR", "Overlap", "boundary_f", "overlap", "total_overlap"]

NEAR = 0.0075
"""How far two outlines may be from each other, as a share of the diagonal."""


class Overlap(NamedTuple):
    """Pixels of each class; those of several pictures add up.

    Attributes:
        both: that are of it, and said to be.
        predicted: that are said to be.
        shown: that are of it.
    """

    both: Float[Tensor, " C"]
    predicted: Float[Tensor, " C"]
    shown: Float[Tensor, " C"]

    def plus(self, other: Overlap) -> Overlap:
        """Of the pictures of both."""
        return Overlap(*(mine + its for mine, its in zip(self, other, strict=True)))

    def iou(self) -> Float[Tensor, " C"]:
        """Of each class; NaN for one that is shown nowhere."""
        either = self.predicted + self.shown - self.both
        return torch.where(self.shown > 0, self.both / either.clamp(min=1), torch.nan)


def overlap(predicted: Int64[Tensor, "*B H W"], shown: Int64[Tensor, "*B H W"], count: int) -> Overlap:
    """Counts of one or several pictures.

    Args:
        predicted: classes of pixels.
        shown: the right ones; -1: it does not count.
        count: of classes.
    """
    inside = shown >= 0
    said, right = predicted[inside], shown[inside]
    both, said_of, shown_of = (
        torch.bincount(each, minlength=count).double() for each in (right[said == right], said, right)
    )
    return Overlap(both, said_of[:count], shown_of)


def total_overlap(pairs: Iterable[tuple[Int64[Tensor, "H W"], Int64[Tensor, "H W"]]], count: int) -> Overlap:
    """Counts of pictures of any sizes.

    Args:
        pairs: classes of pixels, and the right ones.
        count: of classes.
    """
    total = Overlap(*torch.zeros(3, count, dtype=torch.float64))
    for predicted, shown in pairs:
        total = total.plus(overlap(predicted, shown, count))
    return total


def boundary_f(predicted: Bool[Tensor, "H W"], shown: Bool[Tensor, "H W"], near: float = NEAR) -> float:
    """How near two outlines lie; 1 where there is none in either, 0 where there is one in one of them.

    Args:
        predicted: pixels.
        shown: the right ones.
        near: as a share of the diagonal; a pixel at least.
    """
    reach = max(1, round(near * math.hypot(*shown.shape)))
    outlines = [_outline(each) for each in (predicted, shown)]
    if not all(bool(each.any()) for each in outlines):
        return float(not any(bool(each.any()) for each in outlines))
    wide = [_grown(each, reach) for each in outlines]
    precision = float((outlines[0] & wide[1]).sum() / outlines[0].sum())
    recall = float((outlines[1] & wide[0]).sum() / outlines[1].sum())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _outline(pixels: Bool[Tensor, "H W"]) -> Bool[Tensor, "H W"]:
    """Pixels of a mask that touch one that is not of it; the edge of the picture is none."""
    outside = F.pad((~pixels).float()[None], (1, 1, 1, 1), value=0.0)
    return pixels & (F.max_pool2d(outside, 3, 1)[0] > 0)


def _grown(pixels: Bool[Tensor, "H W"], reach: int) -> Bool[Tensor, "H W"]:
    """With all pixels within a distance, counted along the axes or diagonals."""
    return F.max_pool2d(pixels.float()[None], 2 * reach + 1, 1, reach)[0] > 0
