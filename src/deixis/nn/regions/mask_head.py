"""Masks of queries: DETR's head for panoptic segmentation (Carion et al. 2020, section 4.4)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention_map import AttentionMap

__all__ = ["MaskHead"]


class MaskHead(nn.Module):
    """Where a query looks, refined by convolutions from the detector's map to the tower's finer ones.

    Args:
        width: of queries and cells.
        heads: maps of each query.
        finer: channels of the tower's finer maps, the coarsest of them first.
    """

    def __init__(self, width: int, heads: int, finer: Sequence[int]) -> None:
        super().__init__()
        self.attention = AttentionMap(width, heads)
        widths = [width + heads, *(max(8, width // 2 ** (number + 1)) for number in range(len(finer) + 1))]
        self.first = _convolution(widths[0], widths[0])
        self.blocks = nn.ModuleList(_convolution(a, b) for a, b in itertools.pairwise(widths))
        self.adapters = nn.ModuleList(nn.Conv2d(c, w, 1) for c, w in zip(finer, widths[1:], strict=False))
        self.out = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(
        self,
        queries: Float[Tensor, "B Q D"],
        memory: Float[Tensor, "B D h w"],
        cells: Float[Tensor, "B D h w"],
        real: Bool[Tensor, "B h w"],
        finer: Sequence[Float[Tensor, "B _ _ _"]],
    ) -> Float[Tensor, "B Q H W"]:
        """Logits of pixels, at the resolution of the finest map.

        Args:
            queries: states of the last layer.
            memory: cells as the encoder left them.
            cells: as it met them.
            real: which are no padding.
            finer: maps of the tower, the coarsest first.
        """
        count = queries.shape[1]
        maps = self.attention(queries, memory, real).flatten(0, 1)
        state = self.first(torch.cat([cells.repeat_interleave(count, dim=0), maps], dim=1))
        state = self.blocks[0](state)
        for block, adapter, level in zip(self.blocks[1:], self.adapters, finer, strict=True):
            wider = F.interpolate(state, tuple(level.shape[-2:]), mode="nearest")
            state = block(wider + adapter(level).repeat_interleave(count, dim=0))
        return self.out(state)[:, 0].unflatten(0, (len(queries), count))


def _convolution(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1), nn.GroupNorm(math.gcd(8, out), out), nn.ReLU())
