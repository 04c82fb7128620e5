"""Scores refined by the affinity of pixels: pixel-adaptive mask refinement (PAMR; Araslanov and Roth, 2020).

For each dilation d a pixel x has 8 neighbours x_n at the offsets (-d, 0, d)^2 without (0, 0); beyond the edge the edge
is repeated. With all dilations together

    a_n   = softmax over n of the mean over channels of - |x - x_n| / (eps + factor * std)
    score <- sum over n of a_n score_n                                                   (a number of times)

where std is the unbiased standard deviation over the neighbours and, once for each dilation, the pixel itself.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["DILATIONS", "pixel_affinity", "refine_scores"]

DILATIONS = (1, 2, 4, 8, 12, 24)
"""Those of the reference."""

_OFFSETS = tuple(pair for pair in itertools.product((-1, 0, 1), repeat=2) if pair != (0, 0))


def pixel_affinity(
    images: Float[Tensor, "B c H W"],
    dilations: Sequence[int] = DILATIONS,
    eps: float = 1e-8,
    factor: float = 0.1,
) -> Float[Tensor, "B n H W"]:
    """The weight of each neighbour of each pixel; they sum to 1.

    Args:
        images: in any range of values.
        dilations: distances of the neighbours, 8 for each.
        eps: least width of the kernel.
        factor: of the standard deviation.
    """
    # Of differences to the pixel the deviation is the same, and their sums of squares lose fewer digits.
    differences = torch.stack([each - images for each in _neighbours(images, dilations)])
    count = len(differences) + len(dilations)
    mean = differences.sum(0) / count
    squares = (differences - mean).square().sum(0) + len(dilations) * mean.square()
    width = eps + factor * (squares / (count - 1)).sqrt()
    return (-differences.abs() / width).mean(2).softmax(0).transpose(0, 1)


def refine_scores(
    images: Float[Tensor, "B c H W"],
    scores: Float[Tensor, "B C h w"],
    steps: int = 10,
    dilations: Sequence[int] = DILATIONS,
    eps: float = 1e-8,
    factor: float = 0.1,
) -> Float[Tensor, "B C H W"]:
    """Scores at the size of the images, which follow the edges in them.

    Args:
        images: in any range of values.
        scores: of classes; resized to the images, corners on corners.
        steps: how often each pixel becomes the weighted mean of its neighbours.
        dilations: as for `pixel_affinity`.
        eps: likewise.
        factor: likewise.
    """
    weights = pixel_affinity(images, dilations, eps, factor)
    scores = F.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=True)
    for _ in range(steps):
        refined = torch.zeros_like(scores)
        for weight, each in zip(weights.unbind(1), _neighbours(scores, dilations), strict=True):
            refined.addcmul_(weight[:, None], each)
        scores = refined
    return scores


def _neighbours(maps: Tensor, dilations: Sequence[int]) -> list[Tensor]:
    """Views of a padded copy, one a neighbour."""
    height, width = maps.shape[2:]
    found = []
    for far in dilations:
        padded = F.pad(maps, (far,) * 4, mode="replicate")
        found += [
            padded[:, :, far + down * far : far + down * far + height, far + right * far : far + right * far + width]
            for down, right in _OFFSETS
        ]
    return found
