"""The part of a space in which some vectors differ: likeness in one respect, and in no other."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["span_of"]

_SMALL = 1e-5
"""Of singular values, as a share of the largest, that are rounding."""


def span_of(values: Float[Tensor, "N D"], rank: int = 0) -> Float[Tensor, "D D"]:
    """The projection on the span of vectors less their mean.

    Args:
        values: one vector a value.
        rank: directions at the most, the strongest; 0: all.
    """
    _, sizes, directions = torch.linalg.svd((values - values.mean(0)).double(), full_matrices=False)
    there = int((sizes > _SMALL * sizes.max().clamp(min=1e-12)).sum())
    kept = directions[: min(there, rank) if rank else there]
    return (kept.T @ kept).to(values)
