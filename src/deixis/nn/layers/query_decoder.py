"""Post-norm transformers of detectors: an encoder in which positions meet in every layer, a decoder whose queries ask.

Layers are DETR's (Carion et al., End-to-End Object Detection with Transformers, 2020): a layer norm after each sum,
positions added to queries and keys and never to values, ReLU.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention import Attention

__all__ = ["KeyedAttention", "PositionedBlock", "PositionedEncoder", "QueryBlock", "QueryDecoder"]


class KeyedAttention(Attention):
    """Attention whose keys are others than its values: what is found, found by where it is.

    Args:
        width: of the states (D).
        heads: into how many parts they are cut; divides `width`.
        dropout: chance in training that a weight is 0.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__(width, heads)
        self.dropout = dropout

    def by_keys(
        self,
        states: Float[Tensor, "B N D"],
        keys: Float[Tensor, "B M D"],
        values: Float[Tensor, "B M D"],
        mask: Bool[Tensor, "#B #N M"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """The states after attention.

        Args:
            states: one vector a position.
            keys: what it is compared with.
            values: what is read there.
            mask: true where a position (second axis) may attend to another (third axis); one that may attend to none
                reads the mean.
        """
        parts = self._cut(self.query(states)), self._cut(self.key(keys)), self._cut(self.value(values))
        bias = None
        if mask is not None:
            zeros = torch.zeros(mask.shape, dtype=parts[0].dtype, device=mask.device)
            bias = zeros.masked_fill(~mask, torch.finfo(zeros.dtype).min)[:, None]
        dropout = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(*parts, attn_mask=bias, dropout_p=dropout)
        return self.out(found.transpose(1, 2).flatten(2))


def _perceptron(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, width))


class PositionedBlock(nn.Module):
    """norm(x + attention(x)), then norm(x + perceptron(x)); positions are added to what is asked and to what answers.

    Args:
        width: of the states (D).
        heads: of the attention.
        hidden: width inside the perceptron.
        dropout: chance in training of a 0, among weights of attention and in what is added.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = KeyedAttention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.perceptron = _perceptron(width, hidden, dropout)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        states: Float[Tensor, "B N D"],
        positions: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "#B #N N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """The states one block on.

        Args:
            states: one vector a position.
            positions: of each.
            mask: true where a position (second axis) may attend to another (third axis).
        """
        placed = states + positions
        attended = self.attention.by_keys(placed, placed, states, mask)
        states = self.attention_norm(states + self.drop(attended))
        return self.norm(states + self.drop(self.perceptron(states)))


class PositionedEncoder(nn.ModuleList):
    """Blocks one after the other.

    Args:
        depth: how many.
        width: of the states (D).
        heads: of each attention.
        hidden: width inside each perceptron.
        dropout: see `PositionedBlock`.
    """

    def __init__(self, depth: int, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(PositionedBlock(width, heads, hidden, dropout) for _ in range(depth))

    def forward(
        self,
        states: Float[Tensor, "B N D"],
        positions: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "#B #N N"] | None = None,
    ) -> Float[Tensor, "B N D"]:
        """The states after the last block; arguments as of a block."""
        for block in self:
            states = block(states, positions, mask)
        return states


class QueryBlock(nn.Module):
    """Queries attend to one another, then to a memory, then each is mapped on its own; a norm after each sum.

    Args:
        width: of the states (D).
        heads: of each attention.
        hidden: width inside the perceptron.
        dropout: see `PositionedBlock`.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = KeyedAttention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.cross_attention = KeyedAttention(width, heads, dropout)
        self.cross_norm = nn.LayerNorm(width)
        self.perceptron = _perceptron(width, hidden, dropout)
        self.norm = nn.LayerNorm(width)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        states: Float[Tensor, "B Q D"],
        queries: Float[Tensor, "B Q D"],
        memory: tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]],
        mask: Bool[Tensor, "#B Q"] | None = None,
        memory_mask: Bool[Tensor, "#B N"] | None = None,
    ) -> Float[Tensor, "B Q D"]:
        """The states one block on; arguments as of `QueryDecoder`."""
        content, positions = memory
        placed = states + queries
        attended = self.attention.by_keys(placed, placed, states, _rows(mask))
        states = self.attention_norm(states + self.drop(attended))
        attended = self.cross_attention.by_keys(states + queries, content + positions, content, _rows(memory_mask))
        states = self.cross_norm(states + self.drop(attended))
        return self.norm(states + self.drop(self.perceptron(states)))


class QueryDecoder(nn.Module):
    """Blocks one after the other, and one norm behind each of them.

    Args:
        depth: how many blocks (R).
        width: of the states (D).
        heads: of each attention.
        hidden: width inside each perceptron.
        dropout: see `PositionedBlock`.
    """

    def __init__(self, depth: int, width: int, heads: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(QueryBlock(width, heads, hidden, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        states: Float[Tensor, "B Q D"],
        queries: Float[Tensor, "B Q D"],
        memory: tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]],
        mask: Bool[Tensor, "#B Q"] | None = None,
        memory_mask: Bool[Tensor, "#B N"] | None = None,
    ) -> Float[Tensor, "B R Q D"]:
        """The normed states after each block.

        Args:
            states: what the queries start from.
            queries: their positions, added in each block.
            memory: what is asked, and its positions.
            mask: which queries are real.
            memory_mask: which states of the memory are real.
        """
        found = []
        for block in cast(Iterable[QueryBlock], self.blocks):
            states = block(states, queries, memory, mask, memory_mask)
            found.append(self.norm(states))
        return torch.stack(found, dim=1)


def _rows(mask: Bool[Tensor, "#B N"] | None) -> Bool[Tensor, "#B 1 N"] | None:
    return None if mask is None else mask[:, None]
