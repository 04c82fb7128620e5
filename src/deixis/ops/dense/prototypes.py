"""Prototypes: single vectors that stand for many features, and which of them is nearest."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["best_cosines", "k_means", "masked_means", "unit_rows"]

_LEAST = 1e-6
"""Of a length that something is divided by."""


def unit_rows(rows: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Rows of length 1; those that are nearly 0 stay so."""
    return rows / rows.norm(dim=-1, keepdim=True).clamp(min=_LEAST)


def masked_means(rows: Float[Tensor, "*B N D"], mask: Bool[Tensor, "*B N"]) -> Float[Tensor, "*B D"]:
    """The mean of the rows of a mask; NaN where it is empty, so that nobody takes it for a prototype."""
    weight = mask.to(rows.dtype)[..., None]
    return (rows * weight).sum(-2) / weight.sum(-2)


def k_means(rows: Float[Tensor, "N D"], count: int, rng: torch.Generator, iterations: int = 50) -> Float[Tensor, "M D"]:
    """Centroids of Lloyd's algorithm, begun by k-means++; fewer than `count` where there are fewer different rows.

    Args:
        rows: what is clustered.
        count: centroids at the most.
        rng: on the CPU.
        iterations: at the most; it ends when no row changes its centroid.
    """
    centroids = _first_centroids(rows, count, rng)
    owner = rows.new_full((len(rows),), -1, dtype=torch.long)
    for _ in range(iterations if len(centroids) else 0):
        nearest = torch.cdist(rows, centroids).argmin(1)
        if torch.equal(nearest, owner):
            break
        owner = nearest
        counts = torch.bincount(owner, minlength=len(centroids)).to(rows)[:, None]
        sums = torch.zeros_like(centroids).index_add_(0, owner, rows)
        centroids = torch.where(counts > 0, sums / counts.clamp(min=1), centroids)
    return centroids


def _first_centroids(rows: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """Each one drawn among the rows by its squared distance to those before."""
    if not len(rows) or count < 1:
        return rows[:0]
    chosen = [int(torch.randint(len(rows), (1,), generator=rng))]
    nearest = (rows - rows[chosen[0]]).square().sum(1)
    while len(chosen) < count and bool((nearest > 0).any()):
        chosen.append(int(torch.multinomial(nearest.double().cpu(), 1, generator=rng)))
        nearest = torch.minimum(nearest, (rows - rows[chosen[-1]]).square().sum(1))
    return rows[chosen]


def best_cosines(
    rows: Float[Tensor, "N D"], prototypes: Float[Tensor, "P D"], label: Int64[Tensor, " P"], count: int
) -> Float[Tensor, "N C"]:
    """The cosine of each row with the nearest prototype of each class; -1 for a class that has none.

    Args:
        rows: features.
        prototypes: of any length.
        label: class of each prototype, below `count`; below 0: of none.
        count: of classes.
    """
    cosines = unit_rows(rows) @ unit_rows(prototypes).T
    found = cosines.new_full((len(rows), count), -1.0)
    for number in label.unique().tolist():
        if number >= 0:
            found[:, number] = cosines[:, label == number].amax(1)
    return found
