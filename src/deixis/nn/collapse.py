"""How far a set of vectors is from having collapsed, and a set of choices from having fallen on few."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = ["share_used", "unit_deviation"]


def unit_deviation(rows: Float[Tensor, "N D"]) -> Float[Tensor, ""]:
    """The deviation of unit vectors from their mean, axis by axis, times sqrt(D): 0 where all are one, about 1 where
    they lie evenly on the sphere."""
    unit = F.normalize(rows.detach().float(), dim=1)
    return (unit - unit.mean(dim=0)).square().mean(dim=0).mean().sqrt() * rows.shape[1] ** 0.5


def share_used(chosen: Int64[Tensor, " N"], count: int) -> float:
    """Share of things that are chosen at least once, of as many as N choices can reach.

    Args:
        chosen: numbers of the things.
        count: how many there are to choose from.
    """
    return len(torch.unique(chosen)) / max(1, min(count, len(chosen)))
