"""Which of two vectors is nearer to a third: distance, hinge loss, agreement with votes."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["agrees", "cosine_distance", "triplet_hinge"]


def cosine_distance(a: Float[Tensor, "B D"], b: Float[Tensor, "B D"], centred: bool = False) -> Float[Tensor, " B"]:
    """1 - cos(a, b), row by row.

    Args:
        a: vectors of any length.
        b: likewise.
        centred: the mean of each vector's own entries is taken away first.
    """
    if centred:
        a, b = (each - each.mean(1, keepdim=True) for each in (a, b))
    return 1 - F.cosine_similarity(a, b, dim=1)


def triplet_hinge(
    reference: Float[Tensor, "B D"],
    left: Float[Tensor, "B D"],
    right: Float[Tensor, "B D"],
    votes: Float[Tensor, " B"],
    margin: float,
    centred: bool = False,
) -> Float[Tensor, ""]:
    """The mean of max(0, margin - y (d(reference, left) - d(reference, right))), y being 1 where the right one was
    chosen and -1 where the left one was.

    Source: Fu et al., DreamSim (2023), section 3.2; there the sum.

    Args:
        reference: one vector a triplet.
        left: of the first variant.
        right: of the second.
        votes: share of the votes for the right one; it is rounded.
        margin: by how much the chosen one is to be nearer.
        centred: see `cosine_distance`.
    """
    gap = cosine_distance(reference, left, centred) - cosine_distance(reference, right, centred)
    return (margin - torch.where(votes > 0.5, gap, -gap)).clamp(min=0).mean()


def agrees(
    reference: Float[Tensor, "B D"],
    left: Float[Tensor, "B D"],
    right: Float[Tensor, "B D"],
    votes: Float[Tensor, " B"],
    centred: bool = False,
) -> Bool[Tensor, " B"]:
    """Whether the nearer variant is the one that was chosen."""
    nearer = cosine_distance(reference, right, centred) < cosine_distance(reference, left, centred)
    return nearer == (votes > 0.5)
