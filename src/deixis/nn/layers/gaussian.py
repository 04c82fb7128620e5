"""Codes drawn from a normal distribution, and its log densities.

The logarithm of the deviation is held at a lower limit. Where a loss rewards certainty it falls until it meets that
limit, which is then part of the method; at the limit it has no gradient.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["GaussianCode", "GaussianHead", "gaussian_code", "log_normal", "scale_gradient"]

_HALF_LOG_TWO_PI = math.log(2 * math.pi) / 2


class GaussianCode(NamedTuple):
    """A code and the distribution that it was drawn from.

    Attributes:
        mean: of the distribution.
        log_sigma: logarithm of its deviation in each direction.
        z: the code.
    """

    mean: Float[Tensor, "B D"]
    log_sigma: Float[Tensor, "B D"]
    z: Float[Tensor, "B D"]


def gaussian_code(raw: Float[Tensor, "B _"], noise: Float[Tensor, "B D"], min_log_sigma: float) -> GaussianCode:
    """A code z = mean + sigma noise; gradients pass through it into both.

    Args:
        raw: mean and logarithm of the deviation, side by side [B, 2D].
        noise: drawn from the standard normal distribution.
        min_log_sigma: the least logarithm of the deviation.
    """
    mean, log_sigma = raw.chunk(2, dim=1)
    log_sigma = log_sigma.clamp(min=min_log_sigma)
    return GaussianCode(mean, log_sigma, mean + log_sigma.exp() * noise)


class GaussianHead(nn.Module):
    """A linear map from features to the mean and the deviation of a code.

    Args:
        width: of the features.
        latent: of the code (D).
        min_log_sigma: see `gaussian_code`.
    """

    def __init__(self, width: int, latent: int, min_log_sigma: float = -6.0) -> None:
        super().__init__()
        self.linear, self.min_log_sigma = nn.Linear(width, 2 * latent), min_log_sigma

    def forward(self, features: Float[Tensor, "B F"], noise: Float[Tensor, "B D"]) -> GaussianCode:
        """The code with this noise."""
        return gaussian_code(self.linear(features), noise, self.min_log_sigma)


def log_normal(
    values: Float[Tensor, "B D"],
    mean: Float[Tensor, "B D"] | float = 0.0,
    log_sigma: Float[Tensor, "B D"] | float = 0.0,
) -> Float[Tensor, " B"]:
    """Log density of a normal distribution, summed over directions; by default of the standard one.

    Args:
        values: where it is taken.
        mean: of the distribution.
        log_sigma: logarithm of its deviation.
    """
    sigma = log_sigma.exp() if isinstance(log_sigma, Tensor) else math.exp(log_sigma)
    return (-(((values - mean) / sigma) ** 2) / 2 - log_sigma - _HALF_LOG_TWO_PI).sum(dim=1)


def scale_gradient(values: Float[Tensor, "..."], factor: float) -> Float[Tensor, "..."]:
    """The values as they are, whose gradient is multiplied by a factor."""
    return values.detach() + factor * (values - values.detach())
