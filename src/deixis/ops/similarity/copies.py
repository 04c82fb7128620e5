"""Whether altered copies find their originals: recall at 1, and micro average precision over all pairs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["CopyMatches", "copy_matches"]

_TIE = 1e-7
"""Similarities that differ by less are tied, and ties count against the copy."""


class CopyMatches(NamedTuple):
    """What came out for each copy.

    Attributes:
        first: whether the nearest image is its original, or a near-duplicate of that.
        precision: of all pairs of a copy and an image at least as similar as this copy and its original, the share that
            are such pairs, too; the mean over the copies is the micro average precision.
    """

    first: Bool[Tensor, " Q"]
    precision: Float[Tensor, " Q"]


def copy_matches(
    copies: Float[Tensor, "Q D"],
    images: Float[Tensor, "N D"],
    groups: Int64[Tensor, " N"],
    own_groups: Int64[Tensor, " Q"] | None = None,
) -> CopyMatches:
    """Compares each copy with all images; of the images of its own group the most similar counts, and no other.

    Args:
        copies: of length 1; row i is a copy of image i, or of one of the group `own_groups[i]`.
        images: of length 1.
        groups: equal for images that are near-duplicates.
        own_groups: of the images that were copied, where these are not all of `images` in their order.
    """
    scores = copies.double() @ images.double().T
    same = (groups if own_groups is None else own_groups)[:, None] == groups
    own = scores.masked_fill(~same, -torch.inf).amax(dim=1)
    others = scores.masked_fill(same, -torch.inf).amax(dim=1)
    wrong, right = scores[~same].sort().values, own.sort().values
    above = len(wrong) - torch.searchsorted(wrong, own - _TIE)
    hits = len(right) - torch.searchsorted(right, own - _TIE)
    return CopyMatches(own > others + _TIE, hits.double() / (hits + above))
