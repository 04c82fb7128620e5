"""Attention, and the only place where it is called: with fused kernels, or with the weights told."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Attention", "attend", "attend_with_weights"]


def _additive(mask: Bool[Tensor, "..."], dtype: torch.dtype) -> Float[Tensor, "..."]:
    """0 where looking is allowed, and elsewhere the lowest finite number: a row that may look nowhere stays finite."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill(~mask, torch.finfo(dtype).min)


def attend(
    query: Float[Tensor, "B h N d"],
    key: Float[Tensor, "B h M d"],
    value: Float[Tensor, "B h M d"],
    mask: Bool[Tensor, "..."] | None = None,
) -> Float[Tensor, "B h N d"]:
    """Scaled dot-product attention, softmax(q k' / sqrt(d)) v (Vaswani et al. 2017, equation 1).

    Args:
        query: h heads of N positions that look.
        key: M positions that are looked at.
        value: what is found there.
        mask: true where looking is allowed; any shape that broadcasts to [B, h, N, M].
    """
    bias = None if mask is None else _additive(mask, query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def attend_with_weights(
    query: Float[Tensor, "B h N d"],
    key: Float[Tensor, "B h M d"],
    value: Float[Tensor, "B h M d"],
    mask: Bool[Tensor, "..."] | None = None,
) -> tuple[Float[Tensor, "B h N d"], Float[Tensor, "B h N M"]]:
    """The same as `attend`, step by step, with the weights (rows sum to 1); equal to it up to rounding."""
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + _additive(mask, scores.dtype)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights


class Attention(nn.Module):
    """Multi-head self-attention with biases (Vaswani et al. 2017, section 3.2.2).

    Args:
        width: of the states (D).
        heads: into how many parts they are cut; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} cannot be cut into {heads} equal heads")
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def _cut(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B h N d"]:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "#B #N N"] | None = None
    ) -> Float[Tensor, "B N D"]:
        """The states after looking at one another.

        Args:
            states: one vector a position.
            mask: true where a position (second axis) may look at another (third axis).
        """
        query, key, value = (self._cut(part(states)) for part in (self.query, self.key, self.value))
        return self.out(attend(query, key, value, None if mask is None else mask[:, None]).transpose(1, 2).flatten(2))

    def with_weights(
        self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "#B #N N"] | None = None
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B h N N"]]:
        """What `forward` gives, and how much each head looked where."""
        query, key, value = (self._cut(part(states)) for part in (self.query, self.key, self.value))
        found, weights = attend_with_weights(query, key, value, None if mask is None else mask[:, None])
        return self.out(found.transpose(1, 2).flatten(2)), weights
