"""The cells around each cell of a grid, and which of them are most like it."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

__all__ = ["grid_neighbours", "most_similar"]


def grid_neighbours(
    rows: int, columns: int, radius: int = 1, *, wrap: bool = False
) -> tuple[Int64[Tensor, "N M"], Bool[Tensor, "N M"]]:
    """The other cells of the square around each cell, in ascending order of their numbers, and which of them exist.

    Args:
        rows: of the grid, whose cells are counted row by row.
        columns: of the grid.
        radius: of the square.
        wrap: the grid is a torus: beyond a border lies the opposite one. Cells that are their own neighbours, or
            neighbours twice, on a grid smaller than the square, count once.

    Returns:
        Numbers, 0 where there is none, and a mask.
    """
    around = range(-radius, radius + 1)
    found = []
    for row, column in itertools.product(range(rows), range(columns)):
        places = ((row + down, column + across) for down, across in itertools.product(around, around))
        if wrap:
            cells = {(r % rows) * columns + c % columns for r, c in places}
        else:
            cells = {r * columns + c for r, c in places if 0 <= r < rows and 0 <= c < columns}
        found.append(sorted(cells - {row * columns + column}))
    most = max(map(len, found))
    numbers = torch.tensor([each + [0] * (most - len(each)) for each in found], dtype=torch.long)
    return numbers, torch.arange(most) < torch.tensor([[len(each)] for each in found])


def most_similar(
    cells: Float[Tensor, "B N D"], neighbours: Int64[Tensor, "N M"], mask: Bool[Tensor, "N M"], count: int
) -> tuple[Int64[Tensor, "B N K"], Bool[Tensor, "B N K"]]:
    """Of each cell the neighbours whose cosine with it is largest, the largest first.

    Args:
        cells: of each image.
        neighbours: see `grid_neighbours`.
        mask: which of them exist.
        count: K, at the most M.

    Returns:
        Their numbers, and which of them exist.
    """
    unit, around = F.normalize(cells.detach(), dim=2), neighbours.expand(len(cells), -1, -1)
    # All with all is one product and [B, N, N]; neighbours as vectors would be [B, N, M, D].
    cosines = (unit @ unit.transpose(1, 2)).gather(2, around).masked_fill(~mask, -torch.inf)
    value, place = cosines.topk(min(count, neighbours.shape[1]), dim=2)
    return around.gather(2, place), value > -torch.inf
