"""What a term of a log-loss counts by how probable its target is already."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["focal_weight"]


def focal_weight(prob: Float[Tensor, "*B"], gamma: float) -> Float[Tensor, "*B"]:
    """(1 - p)^gamma: the less probable a target is, the more its term -log p counts.

    p is that of a model itself (Lin et al., Focal Loss for Dense Object Detection, 2017, equation 4), or of a
    reference model, in which case it has no gradient. The weight is differentiable; `detach` it where it is to be a
    constant. Where p is 1, or rounds to more, the weight and its gradient are 0, whatever the exponent; with an
    exponent of 0 all weights are 1.

    Args:
        prob: of each target, from 0 to 1.
        gamma: the exponent, 0 or more.

    Raises:
        ValueError: the exponent is negative, so that certain targets would count without limit.

    >>> focal_weight(torch.tensor([0.0, 0.5, 1.0]), 2.0)
    tensor([1.0000, 0.2500, 0.0000])
    """
    if gamma < 0:
        raise ValueError(f"gamma is {gamma}: the exponent of a focal weight is 0 or more.")
    if gamma == 0:
        return torch.ones_like(prob)
    rest = 1 - prob
    certain = rest <= 0
    # Of the root of 0 the gradient is infinite, and infinity times the loss of a certain target is no number.
    return rest.masked_fill(certain, 1.0).pow(gamma).masked_fill(certain, 0.0)
