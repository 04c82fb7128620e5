"""An image's embedding that attends to the image's own cells, and has what it finds there added."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention import Attention

__all__ = ["AdaptationHead"]


class AdaptationHead(nn.Module):
    """f' = f + beta attention(f, cells), with beta 1 at the start.

    Args:
        width: of embeddings and cells (D).
        heads: of the attention; divides `width`.
        strongest: cells that are attended to, those with the largest weights, averaged over the heads; 0: all.
    """

    def __init__(self, width: int, heads: int, strongest: int = 0) -> None:
        super().__init__()
        self.attention, self.strongest = Attention(width, heads), strongest
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, image: Float[Tensor, "B D"], cells: Float[Tensor, "B N D"]) -> Float[Tensor, "B D"]:
        """The embeddings with what was attended to; not of length 1.

        Args:
            image: one query an image.
            cells: keys and values, one a patch of the same image.
        """
        query = image[:, None]
        mask = None
        if 0 < self.strongest < cells.shape[1]:
            with torch.no_grad():
                mask = self._strongest(query, cells)
        return image + self.beta * self.attention(query, mask, memory=cells)[:, 0]

    def _strongest(self, query: Float[Tensor, "B 1 D"], cells: Float[Tensor, "B N D"]) -> Bool[Tensor, "B 1 N"]:
        """True at the cells with the largest mean weight."""
        heads = self.attention.heads
        asked, keys = (
            part.unflatten(-1, (heads, -1)) for part in (self.attention.query(query), self.attention.key(cells))
        )
        scores = torch.einsum("bqhd,bnhd->bhqn", asked, keys) * asked.shape[-1] ** -0.5
        weights = F.softmax(scores, dim=-1).mean(dim=1)
        kept = weights.topk(self.strongest, dim=-1).indices
        return torch.zeros_like(weights, dtype=torch.bool).scatter(-1, kept, True)
