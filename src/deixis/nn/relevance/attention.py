"""Relevance through attention: fused, or in torch's own module, taken apart into products and a softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.nn.relevance import steps
from deixis.nn.relevance.rules import Affine, Rule, Rules

__all__ = ["fused_attention", "multi_head_attention"]


@runtime_checkable
class _Bound(Protocol):
    """What is asked of a call: its arguments by name, and the rules."""

    @property
    def rules(self) -> Rules: ...

    @property
    def choose(self) -> Callable[[str], Rule]: ...

    def bound(self, *names: str) -> dict[str, Any]: ...


def fused_attention(call: _Bound) -> Float[Tensor, "..."] | None:
    """softmax(q k' / sqrt(d)) v; None for grouped queries, which have no rule here."""
    names = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa")
    given = call.bound(*names)
    if given["enable_gqa"]:
        return None
    query, key, value = given["query"], given["key"], given["value"]
    mask = _additive(given["attn_mask"], given["is_causal"], query, key)
    return _attend((query, key, value), mask, given["scale"], call.rules)[0]


def _attend(
    parts: tuple[Tensor, Tensor, Tensor], mask: Tensor | None, scale: float | None, rules: Rules
) -> tuple[Tensor, Tensor]:
    """What is found, and the weights. The product is not scaled when its relevance is shared out."""
    query, key, value = parts
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    through = rules.attention == "product" and (query.requires_grad or key.requires_grad)
    if through:
        products = steps.product(query, key.transpose(-2, -1), rules.epsilon, torch.matmul)
        weights = steps.softmax(steps.passing(products.detach() * scale, products), -1, mask)
    else:
        scores = query.detach() @ key.detach().transpose(-2, -1) * scale
        weights = (scores if mask is None else scores + mask).softmax(-1)
    carries = weights.requires_grad or value.requires_grad
    found = steps.product(weights, value, rules.epsilon, torch.matmul) if carries else weights @ value
    return found, weights.detach()


def _additive(mask: Tensor | None, causal: bool | None, query: Tensor, key: Tensor) -> Tensor | None:
    """What is added to the scores: where a row may look nowhere, nothing is let through and nothing is NaN."""
    if causal:
        mask = torch.ones(query.shape[-2], key.shape[-2], dtype=torch.bool, device=query.device).tril()
    if mask is None or mask.dtype != torch.bool:
        return mask
    lowest = torch.finfo(query.dtype).min
    return torch.zeros(mask.shape, dtype=query.dtype, device=query.device).masked_fill(~mask, lowest)


_ARGUMENTS = (
    *("query", "key", "value", "embed_dim_to_check", "num_heads", "in_proj_weight", "in_proj_bias", "bias_k", "bias_v"),
    *("add_zero_attn", "dropout_p", "out_proj_weight", "out_proj_bias", "training", "key_padding_mask", "need_weights"),
    *("attn_mask", "use_separate_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight", "static_k"),
    *("static_v", "average_attn_weights", "is_causal"),
)


def multi_head_attention(call: _Bound) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."] | None] | None:
    """`nn.MultiheadAttention` (states [N, B, D]); None where it has what is seldom used."""
    given = call.bound(*_ARGUMENTS)
    if any(given[name] is not None for name in ("bias_k", "static_k", "static_v")) or given["add_zero_attn"]:
        return None
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    packed = not given["use_separate_proj_weight"]
    weights = given["in_proj_weight"].chunk(3) if packed else [given[name] for name in names]
    biases = (None,) * 3 if given["in_proj_bias"] is None else given["in_proj_bias"].chunk(3)
    heads, parts = given["num_heads"], []
    for x, weight, bias in zip((given["query"], given["key"], given["value"]), weights, biases, strict=True):
        states = _linear(call, x, weight, bias).transpose(-3, -2) if x.ndim == 3 else _linear(call, x, weight, bias)
        parts.append(states.unflatten(-1, (heads, -1)).transpose(-3, -2))
    mask = _joined(given["attn_mask"], given["key_padding_mask"], parts[0])
    found, looked = _attend((parts[0], parts[1], parts[2]), mask, None, call.rules)
    found = found.transpose(-3, -2).flatten(-2)
    found = _linear(call, found, given["out_proj_weight"], given["out_proj_bias"])
    wanted = given["need_weights"] is not False
    looked = looked if given["average_attn_weights"] is False else looked.mean(-3)
    return (found.transpose(-3, -2) if found.ndim == 3 else found), (looked if wanted else None)


def _linear(call: _Bound, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    output = F.linear(x.detach(), weight, bias)
    if not x.requires_grad:
        return output
    layer = Affine(x.detach(), weight, bias, F.linear, lambda s, w: s @ w)
    return steps.affine(layer, output, x, call.choose("linear"))


def _joined(mask: Tensor | None, padding: Tensor | None, query: Tensor) -> Tensor | None:
    """Both masks as one that is added; in torch's, true is where not to look."""
    lowest = torch.finfo(query.dtype).min

    def added(each: Tensor) -> Tensor:
        return torch.zeros_like(each, dtype=query.dtype).masked_fill(each, lowest) if each.dtype == torch.bool else each

    if mask is not None:
        mask = added(mask)
        if mask.ndim == 3 and query.ndim == 4:  # one a sample and head
            mask = mask.unflatten(0, (len(query), -1))
    if padding is not None:
        padding = added(padding)[..., None, None, :]
    if mask is None or padding is None:
        return padding if mask is None else mask
    return (mask + padding).clamp(min=-math.inf if mask.isinf().any() else lowest)
