"""Learned positions for images and texts of other sizes than those they were learned on.

The numbers are open_clip's. Whoever calls this tells the user: a model with other positions is another model.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.ops.precision import to_float32

__all__ = ["require_side", "resize_grid", "resize_length"]


def require_side(images: Float[Tensor, "B 3 H W"], side: int) -> None:
    """Refuses images that a tower has no positions for.

    Args:
        images: preprocessed.
        side: of the squares that the tower sees, in pixels.

    Raises:
        DeixisError: the images have another size.
    """
    height, width = images.shape[-2:]
    if (height, width) != (side, side):
        raise DeixisError(
            f"The images are {height} by {width} pixels, and this tower sees {side} by {side}.",
            "Preprocess to that size, or load the model with another image size.",
        )


def resize_grid(
    positions: Float[Tensor, "N D"],
    grid: tuple[int, int],
    *,
    before: int = 1,
    old: tuple[int, int] | None = None,
    antialias: bool = True,
) -> Float[Tensor, "M D"]:
    """Positions of another grid of patches: bicubic, by default with antialiasing.

    Args:
        positions: one vector a position, row by row.
        grid: rows and columns wanted.
        before: positions before the first patch (class token, mean token), which stay as they are.
        old: rows and columns there are; a square by default.
        antialias: as of `torch.nn.functional.interpolate`; without it, the cubic has another steepness, too.

    Returns:
        The positions, the same tensor where nothing had to be done.

    Raises:
        ValueError: the positions are not those of `old`, or of any square.
    """
    count = len(positions) - before
    side = math.isqrt(max(count, 0))
    old = old or (side, side)
    if old[0] * old[1] != count:
        raise ValueError(f"{count} positions do not lie on a grid of {old[0]} by {old[1]}")
    if old == grid:
        return positions
    cells = positions[before:].T.reshape(1, -1, *old)
    resized = F.interpolate(to_float32(cells), size=grid, mode="bicubic", antialias=antialias, align_corners=False)
    return torch.cat([positions[:before], resized[0].flatten(1).T.to(positions.dtype)])


def resize_length(positions: Float[Tensor, "L D"], length: int) -> Float[Tensor, "M D"]:
    """Positions of texts of another length, stretched or squeezed linearly.

    Args:
        positions: one vector a position.
        length: how many are wanted.

    Returns:
        The positions, the same tensor where nothing had to be done.
    """
    if length == len(positions):
        return positions
    resized = F.interpolate(to_float32(positions.T[None]), size=length, mode="linear", align_corners=False)
    return resized[0].T.to(positions.dtype)
