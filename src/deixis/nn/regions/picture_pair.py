"""Two pictures and one text: each pass attends to the other, both are pooled, and a classifier sees both."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from deixis.nn.layers.attention import Attention

__all__ = ["PicturePair"]


class PicturePair(nn.Module):
    """Logits from the states of two passes over the same text with different pictures.

    Args:
        width: of the states (D).
        heads: of the attention of each pass to the other.
        classes: that are told apart.
        dropout: of the joined states.
    """

    def __init__(self, width: int, heads: int, classes: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.first, self.second = Attention(width, heads), Attention(width, heads)
        self.join = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Dropout(dropout))
        self.pool = nn.Linear(width, 1)
        self.out = nn.Linear(2 * width, classes)

    def forward(
        self,
        states: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "B N"],
        others: Float[Tensor, "B M D"],
        other_mask: Bool[Tensor, "B M"],
    ) -> Float[Tensor, "B C"]:
        """Logits.

        Args:
            states: of the pass over the first picture.
            mask: which are real.
            others: of the pass over the second.
            other_mask: which are real.
        """
        one = self._pooled(states, self.first(states, other_mask[:, None], memory=others), mask)
        two = self._pooled(others, self.second(others, mask[:, None], memory=states), other_mask)
        return self.out(torch.cat([one, two], dim=-1))

    def _pooled(self, states: Tensor, attended: Tensor, mask: Tensor) -> Float[Tensor, "B D"]:
        joined = self.join(torch.cat([attended, states], dim=-1))
        weights = self.pool(joined)[..., 0].relu().masked_fill(~mask, torch.finfo(joined.dtype).min).softmax(-1)
        return (weights[..., None] * joined).sum(1)
