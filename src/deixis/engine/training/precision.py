"""Whether products are computed in bfloat16."""

from __future__ import annotations

import torch

from deixis.engine.training.step import Precision

__all__ = ["chosen_precision", "multiplies_bf16"]


def chosen_precision(wish: str, device: torch.device) -> Precision:
    """`auto` goes by what the machine can do and measures nothing, so that a run that goes on chooses the same.

    Args:
        wish: `auto`, `bf16` or `float32`.
        device: that trains.
    """
    if wish == "auto":
        return "bf16" if multiplies_bf16(device) else "float32"
    return "bf16" if wish == "bf16" else "float32"


def multiplies_bf16(device: torch.device) -> bool:
    """Whether a device has instructions for it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    known = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # not in every release of torch
    return any(getattr(torch.cpu, name, bool)() for name in known)
