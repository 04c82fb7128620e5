"""The precision that arithmetic is done in."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["to_float32"]


def to_float32(values: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The same numbers in float32 at least: half precision is converted, anything wider is returned as it is."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values
