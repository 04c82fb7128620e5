"""A learned vector that reads a set which is never changed (class attention; CaiT, Touvron et al. 2021)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.nn.layers.attention import Attention, attend

__all__ = ["ClassAttentionBlock", "ClassAttentionPool", "heads_within"]


def heads_within(width: int, most: int) -> int:
    """The largest number of heads, up to `most`, that divides a width."""
    return max(each for each in range(1, most + 1) if width % each == 0)


class ClassAttentionBlock(nn.Module):
    """c + attention of norm([c; set]) from c alone, then + perceptron(norm(c)).

    Args:
        width: of all vectors (D).
        heads: of the attention.
        ratio: width inside the perceptron, in widths.
    """

    def __init__(self, width: int, heads: int, ratio: int = 4) -> None:
        super().__init__()
        self.attention_norm, self.norm = (nn.LayerNorm(width, eps=1e-6) for _ in range(2))
        self.attention = Attention(width, heads)
        self.perceptron = nn.Sequential(nn.Linear(width, ratio * width), nn.GELU(), nn.Linear(ratio * width, width))

    def forward(
        self, query: Float[Tensor, "B 1 D"], states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None = None
    ) -> Float[Tensor, "B 1 D"]:
        """The query one block on.

        Args:
            query: one vector a set.
            states: the set.
            mask: true where a member exists.
        """
        whole = self.attention_norm(torch.cat([query, states], dim=1))
        seen = None
        if mask is not None:
            seen = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)[:, None]
        query = query + self.attention(whole[:, :1], seen, memory=whole)
        return query + self.perceptron(self.norm(query))

    def of_sets(
        self,
        query: Float[Tensor, "Q D"],
        states: Float[Tensor, "N D"],
        chosen: Int64[Tensor, "S K"],
        mask: Bool[Tensor, "S K"],
    ) -> Float[Tensor, "S D"]:
        """What `forward` gives for sets that share members: keys and values of these are computed once.

        Args:
            query: one vector a set, or one for all.
            states: all members.
            chosen: which of them are in each set.
            mask: true where a member exists.
        """
        own, members, attention = self.attention_norm(query), self.attention_norm(states), self.attention
        sets = (len(chosen), -1)
        key, value = (
            torch.cat([linear(own).expand(sets)[:, None], linear(members)[chosen]], dim=1)
            for linear in (attention.key, attention.value)
        )
        parts = (attention.query(own).expand(sets)[:, None], key, value)
        ask, key, value = (each.unflatten(2, (attention.heads, -1)).transpose(1, 2) for each in parts)
        seen = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)[:, None, None]
        query = query + attention.out(attend(ask, key, value, seen)[:, :, 0].flatten(1))
        return query + self.perceptron(self.norm(query))


class ClassAttentionPool(nn.Module):
    """A learned query through blocks, each of which reads the same set, and a norm.

    Args:
        width: of all vectors (D).
        heads: of each attention.
        depth: blocks.
    """

    def __init__(self, width: int, heads: int, depth: int = 2) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.blocks = nn.ModuleList(ClassAttentionBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"] | None = None) -> Float[Tensor, "B D"]:
        """One vector a set.

        Args:
            states: the members of each set.
            mask: true where a member exists.
        """
        query = self.query.expand(len(states), 1, -1)
        for block in self.blocks:
            query = block(query, states, mask)
        return self.norm(query)[:, 0]

    def of_sets(
        self, states: Float[Tensor, "N D"], chosen: Int64[Tensor, "S K"], mask: Bool[Tensor, "S K"]
    ) -> Float[Tensor, "S D"]:
        """One vector a set, for sets that share members.

        Args:
            states: all members.
            chosen: which of them are in each set.
            mask: true where a member exists.
        """
        query: Tensor = self.query[None]
        for block in self.blocks:
            assert isinstance(block, ClassAttentionBlock)
            query = block.of_sets(query, states, chosen, mask)
        return self.norm(query)
