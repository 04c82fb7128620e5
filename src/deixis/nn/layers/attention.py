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


def _with_past(
    mask: Bool[Tensor, "..."] | None, query: Float[Tensor, "B h N d"], key: Float[Tensor, "B h M d"]
) -> Bool[Tensor, "..."]:
    """`mask`, and besides each position sees only itself and those before it."""
    past = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    return past if mask is None else mask & past


def attend(
    query: Float[Tensor, "B h N d"],
    key: Float[Tensor, "B h M d"],
    value: Float[Tensor, "B h M d"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "B h N d"]:
    """Scaled dot-product attention, softmax(q k' / sqrt(d)) v (Vaswani et al. 2017, equation 1).

    Args:
        query: h heads of N positions that look.
        key: M positions that are looked at.
        value: what is found there.
        mask: true where looking is allowed; any shape that broadcasts to [B, h, N, M].
        causal: position n sees 0 to n only.
    """
    if causal and mask is None:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True)
    mask = _with_past(mask, query, key) if causal else mask
    bias = None if mask is None else _additive(mask, query.dtype)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def attend_with_weights(
    query: Float[Tensor, "B h N d"],
    key: Float[Tensor, "B h M d"],
    value: Float[Tensor, "B h M d"],
    mask: Bool[Tensor, "..."] | None = None,
    *,
    causal: bool = False,
) -> tuple[Float[Tensor, "B h N d"], Float[Tensor, "B h N M"]]:
    """The same as `attend`, step by step, with the weights (rows sum to 1); equal to it up to rounding."""
    scores = query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5
    mask = _with_past(mask, query, key) if causal else mask
    if mask is not None:
        scores = scores + _additive(mask, scores.dtype)
    weights = scores.softmax(dim=-1)
    return weights @ value, weights


class Attention(nn.Module):
    """Multi-head attention with biases (Vaswani et al. 2017, section 3.2.2); of states to one another, or to others.

    Args:
        width: of the states (D).
        heads: into how many parts they are cut; divides `width`.
        out: width of what comes out (E); `width` by default.
    """

    def __init__(self, width: int, heads: int, out: int | None = None) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"a width of {width} cannot be cut into {heads} equal heads")
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.out = nn.Linear(width, out or width)

    def _cut(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B h N d"]:
        return states.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _parts(
        self, states: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"] | None
    ) -> tuple[Float[Tensor, "B h N d"], Float[Tensor, "B h M d"], Float[Tensor, "B h M d"]]:
        """Queries of the states, keys and values of what they attend to, cut into heads."""
        memory = states if memory is None else memory
        return self._cut(self.query(states)), self._cut(self.key(memory)), self._cut(self.value(memory))

    def attend(
        self,
        states: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "#B #N #M"] | None = None,
        *,
        memory: Float[Tensor, "B M D"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """The outputs of the heads, side by side, before the last linear map; arguments as in `forward`."""
        mask = None if mask is None else mask[:, None]
        return attend(*self._parts(states, memory), mask, causal=causal).transpose(1, 2).flatten(2)

    def forward(
        self,
        states: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "#B #N #M"] | None = None,
        *,
        memory: Float[Tensor, "B M D"] | None = None,
        causal: bool = False,
    ) -> Float[Tensor, "B N E"]:
        """The states after attention.

        Args:
            states: one vector a position.
            mask: true where a position (second axis) may attend to another (third axis).
            memory: what is attended to; the states themselves by default.
            causal: position n sees 0 to n only.
        """
        return self.out(self.attend(states, mask, memory=memory, causal=causal))

    def kv_cache(self, states: Float[Tensor, "G N D"]) -> tuple[Float[Tensor, "G h N d"], Float[Tensor, "G h N d"]]:
        """Keys and values of states that come before others, for `attend_cached`."""
        return self._cut(self.key(states)), self._cut(self.value(states))

    def attend_cached(
        self, states: Float[Tensor, "B N D"], kv_cache: tuple[Float[Tensor, "G h P d"], Float[Tensor, "G h P d"]]
    ) -> Float[Tensor, "B N E"]:
        """What `forward` gives under a causal mask for states that follow P others, whose keys and values are cached.

        Args:
            states: B rows; each of the G rows of the cache has B / G of them after it, side by side.
            kv_cache: of the P states, as `kv_cache` gives it: computed once for all that follow, and never copied.
        """
        query, key, value = self._parts(states, None)
        cached_key, cached_value = kv_cache
        groups, rows = len(cached_key), len(states) // len(cached_key)
        # [G, h, rows x N, d]: all that follows one row of the cache is multiplied with it at once.
        asking = query.unflatten(0, (groups, rows)).transpose(1, 2).flatten(2, 3)
        far = (asking @ cached_key.transpose(-2, -1)).unflatten(2, (rows, -1)).transpose(1, 2).flatten(0, 1)
        near = query @ key.transpose(-2, -1)
        future = torch.ones(near.shape[-2:], dtype=torch.bool, device=near.device).triu(1)
        near = near.masked_fill(future, torch.finfo(near.dtype).min)
        weights = (torch.cat([far, near], dim=-1) * query.shape[-1] ** -0.5).softmax(dim=-1)
        far, near = weights.split([cached_key.shape[2], key.shape[2]], dim=-1)
        attended = far.unflatten(0, (groups, rows)).transpose(1, 2).flatten(2, 3) @ cached_value
        found = attended.unflatten(2, (rows, -1)).transpose(1, 2).flatten(0, 1) + near @ value
        return self.out(found.transpose(1, 2).flatten(2))

    def with_weights(
        self,
        states: Float[Tensor, "B N D"],
        mask: Bool[Tensor, "#B #N #M"] | None = None,
        *,
        memory: Float[Tensor, "B M D"] | None = None,
        causal: bool = False,
    ) -> tuple[Float[Tensor, "B N E"], Float[Tensor, "B h N M"]]:
        """What `forward` gives, and how much each head looked where."""
        mask = None if mask is None else mask[:, None]
        found, weights = attend_with_weights(*self._parts(states, memory), mask, causal=causal)
        return self.out(found.transpose(1, 2).flatten(2)), weights
