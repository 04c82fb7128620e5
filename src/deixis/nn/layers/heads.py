"""Heads that images are compared behind while a tower learns, and that are left out afterwards."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.layers.norms import share_batch_norms

__all__ = ["ProjectionHead"]


class ProjectionHead(nn.Module):
    """Linear maps with ReLU between them, of vectors or of each cell of a map.

    Args:
        widths: of what comes in, of each hidden layer, and of what comes out.
        norm: whether a batch norm, over the samples of all ranks, stands before each ReLU.
        cells: whether maps [B, D, h, w] come in, each cell of which goes through alone (convolutions of 1 x 1).
    """

    def __init__(self, widths: Sequence[int], *, norm: bool = False, cells: bool = False) -> None:
        super().__init__()
        linear = [nn.Conv2d(*pair, 1) if cells else nn.Linear(*pair) for pair in itertools.pairwise(widths)]
        self.linears = nn.ModuleList(linear)
        kind = nn.BatchNorm2d if cells else nn.BatchNorm1d
        self.norms = nn.ModuleList(share_batch_norms(kind(width)) if norm else nn.Identity() for width in widths[1:-1])

    def forward(self, values: Float[Tensor, "B d ..."]) -> Float[Tensor, "B D ..."]:
        """Not normalised."""
        *hidden, last = self.linears
        for linear, norm in zip(hidden, self.norms, strict=True):
            values = norm(linear(values)).relu()
        return last(values)
