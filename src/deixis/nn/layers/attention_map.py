"""Attention of which only the weights are wanted: where on a grid queries look."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

__all__ = ["AttentionMap"]


class AttentionMap(nn.Module):
    """A map a head that sums to 1 over the grid; there are no values.

    Args:
        width: of queries and cells (D).
        heads: into how many parts they are cut; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)

    def forward(
        self, queries: Float[Tensor, "B Q D"], memory: Float[Tensor, "B D H W"], valid: Bool[Tensor, "B H W"]
    ) -> Float[Tensor, "B Q h H W"]:
        """The maps.

        Args:
            queries: Q of each image.
            memory: cells of the grid.
            valid: which of them are no padding; the others have the weight 0.
        """
        sides = (self.query(queries), self.key(memory.flatten(2).transpose(1, 2)))
        query, key = (side.unflatten(-1, (self.heads, -1)).transpose(1, 2) for side in sides)
        scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
        scores = scores.masked_fill(~valid.flatten(1)[:, None, None], torch.finfo(scores.dtype).min)
        return scores.softmax(dim=-1).transpose(1, 2).unflatten(-1, tuple(memory.shape[-2:]))
