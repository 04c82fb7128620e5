"""CLIP's attention pool run on all positions: a vector of the shared space for each cell beside the pooled one.

What Rao et al. (DenseCLIP, 2022, section 3.2) call language-compatible feature maps: where the pool lets the mean cell
attend to all cells, here every cell does, too. Positions of another grid are interpolated bilinearly, or cut out.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.vision.modified_resnet import AttentionPool

__all__ = ["PositionRule", "grid_positions", "pool_everywhere"]

PositionRule: TypeAlias = Literal["resize", "cut"]
"""How positions are brought to another grid: resized bilinearly, or the upper left corner of them."""


def grid_positions(
    positions: Float[Tensor, "N D"], grid: tuple[int, int], *, before: int = 1, rule: PositionRule = "resize"
) -> Float[Tensor, "M D"]:
    """Positions for another grid of cells, with gradient.

    Args:
        positions: one vector a position, row by row of a square grid.
        grid: rows and columns wanted.
        before: positions before the first cell, which stay as they are.
        rule: see `PositionRule`.

    Raises:
        DeixisError: a corner is to be cut out that is larger than the grid.
    """
    side = math.isqrt(len(positions) - before)
    if (side, side) == grid:
        return positions
    cells = positions[before:].unflatten(0, (side, side))
    if rule == "cut":
        if max(grid) > side:
            raise DeixisError(
                f"Positions of {grid[0]} by {grid[1]} cells are to be cut out of {side} by {side}.",
                "Take smaller images, or resize the positions.",
            )
        wanted = cells[: grid[0], : grid[1]].flatten(0, 1)
    else:
        resized = F.interpolate(cells.permute(2, 0, 1)[None], size=grid, mode="bilinear", align_corners=False)
        wanted = resized[0].flatten(1).T
    return torch.cat([positions[:before], wanted])


def pool_everywhere(
    pool: AttentionPool, cells: Float[Tensor, "B F h w"], rule: PositionRule = "resize"
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D h w"]]:
    """The pooled vector and one for each cell, none of them scaled to length 1.

    Args:
        pool: whose positions and attention are taken.
        cells: the last map of a network.
        rule: of positions where the map has another size than the pool was made for.
    """
    grid = (cells.shape[2], cells.shape[3])
    states = cells.flatten(2).transpose(1, 2)
    states = torch.cat([states.mean(dim=1, keepdim=True), states], dim=1)
    states = pool.attention(states + grid_positions(pool.positions, grid, rule=rule))
    return states[:, 0], states[:, 1:].transpose(1, 2).unflatten(2, grid)
