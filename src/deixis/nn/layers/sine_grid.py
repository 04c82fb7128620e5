"""Positions of the cells of a grid as waves, and which cells there are."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["real_cells", "sine_grid"]


def sine_grid(
    valid: Bool[Tensor, "B H W"], width: int, *, temperature: float = 10_000.0, scale: float = 2 * math.pi
) -> Float[Tensor, "B D H W"]:
    """Positions of cells as waves (Vaswani et al. 2017) of row and column, as DETR has them (Carion et al. 2020).

    A row counts from 1 among the real cells of its column, and is divided by the last number there: so an image has the
    same positions however it is padded. Padded cells get some positions, too.

    Args:
        valid: which cells are no padding.
        width: of the positions (D), a multiple of 4: first half row, second half column; sine and cosine in turns.
        temperature: ratio of the longest wave to the shortest, nearly.
        scale: that numbers from 0 to 1 are multiplied by.
    """
    waves = temperature ** (torch.arange(width // 4, dtype=torch.float32, device=valid.device) * 4 / width)
    found = []
    for axis in (1, 2):
        count = valid.cumsum(axis, dtype=torch.float32)
        place = count / (count.narrow(axis, -1, 1) + 1e-6) * scale
        angles = place[..., None] / waves
        found.append(torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2))
    return torch.cat(found, dim=-1).movedim(-1, 1)


def real_cells(valid: Mapping[str, Tensor], cells: Float[Tensor, "B F h w"]) -> Bool[Tensor, "B h w"]:
    """Which cells of a map are no padding: those whose first pixel is none.

    Args:
        valid: of the images, `H` and `W` [B, size]; without them all pixels are real.
        cells: the map.
    """
    if "H" not in valid:
        return torch.ones_like(cells[:, 0], dtype=torch.bool)
    pixels = valid["H"][:, None, :, None] & valid["W"][:, None, None]
    return F.interpolate(pixels.float(), tuple(cells.shape[-2:]), mode="nearest")[:, 0] > 0
