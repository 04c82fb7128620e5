"""The mean of the states of real tokens."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

__all__ = ["masked_mean", "real_tokens"]


def masked_mean(states: Float[Tensor, "B N F"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B F"]:
    """The mean of the states where `mask` is true; zeros where it is nowhere."""
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)


def real_tokens(tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None) -> Bool[Tensor, "B L"]:
    """The mask, or one of all tokens."""
    return torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
