"""Blocks of causal language models: those of GPT-2 (layer norm, GELU) and those of LLaMA (RMS norm, rotary positions,
grouped keys, a gated perceptron)."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.language.kv_cache import KvCache
from deixis.nn.layers.attention import attend
from deixis.nn.layers.transformer import Mlp

__all__ = ["BlockConfig", "CausalBlock", "GatedMlp", "GroupedAttention", "ReadContext", "rotary", "rotate"]


@dataclasses.dataclass(frozen=True)
class BlockConfig:
    """Sizes and kind of a block.

    Attributes:
        width: of the states (F).
        heads: of the queries; divides `width`.
        key_heads: of keys and values; divides `heads`, whose queries share them in groups.
        hidden: width inside the perceptron.
        gated: LLaMA's block: RMS norms without biases and a gated perceptron; else GPT-2's.
        input_bias: whether the maps to queries, keys and values have biases.
        output_bias: whether the map behind the heads has one.
        epsilon: of the norms.
    """

    width: int
    heads: int
    key_heads: int
    hidden: int
    gated: bool
    input_bias: bool
    output_bias: bool
    epsilon: float


@dataclasses.dataclass(frozen=True)
class ReadContext:
    """What the blocks of one call have in common.

    Attributes:
        mask: true where a position (third axis) may attend to another (last axis); None: to all before it.
        turns: cosines and sines of the rotary positions; None where the model has others.
        past: what was read before; it grows.
    """

    mask: Bool[Tensor, "B 1 L M"] | None
    turns: tuple[Float[Tensor, "B 1 L d"], Float[Tensor, "B 1 L d"]] | None
    past: KvCache | None


def rotary(
    places: Int64[Tensor, "B L"], width: int, base: float, dtype: torch.dtype
) -> tuple[Float[Tensor, "B 1 L d"], Float[Tensor, "B 1 L d"]]:
    """Cosines and sines by which `rotate` turns queries and keys (Su et al. 2021, equation 34).

    Args:
        places: of the positions.
        width: of a head (d); even.
        base: of the wave lengths.
        dtype: of the result.
    """
    steps = torch.arange(0, width, 2, device=places.device, dtype=torch.float32) / width
    angles = places[:, None, :, None].float() * base**-steps
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def rotate(
    states: Float[Tensor, "B h L d"], turns: tuple[Float[Tensor, "B 1 L d"], Float[Tensor, "B 1 L d"]]
) -> Float[Tensor, "B h L d"]:
    """Each number of the first half turned with the one that stands in its place in the second half."""
    first, second = states.chunk(2, dim=-1)
    return states * turns[0] + torch.cat([-second, first], dim=-1) * turns[1]


class GatedMlp(nn.Module):
    """narrow(silu(gate(x)) * widen(x)), without biases (Shazeer 2020).

    Args:
        width: of the states (D).
        hidden: width between the maps.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate, self.widen = nn.Linear(width, hidden, bias=False), nn.Linear(width, hidden, bias=False)
        self.narrow = nn.Linear(hidden, width, bias=False)

    def forward(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Each state mapped on its own."""
        return self.narrow(F.silu(self.gate(states)) * self.widen(states))


class GroupedAttention(nn.Module):
    """Causal attention in which groups of queries share keys and values (Ainslie et al. 2023).

    Args:
        config: of the block.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        if config.width % config.heads or config.heads % config.key_heads:
            raise ValueError(
                f"a width of {config.width}, {config.heads} heads and {config.key_heads} of keys do not divide"
            )
        self.heads, self.key_heads = config.heads, config.key_heads
        keys = config.width // config.heads * config.key_heads
        self.query = nn.Linear(config.width, config.width, bias=config.input_bias)
        self.key, self.value = (nn.Linear(config.width, keys, bias=config.input_bias) for _ in range(2))
        self.out = nn.Linear(config.width, config.width, bias=config.output_bias)

    def forward(self, states: Float[Tensor, "B L D"], block: int, context: ReadContext) -> Float[Tensor, "B L D"]:
        """The states after attention.

        Args:
            states: one vector a position.
            block: number of the block that this is part of.
            context: of the call.
        """
        query = self.query(states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = (
            each(states).unflatten(-1, (self.key_heads, -1)).transpose(1, 2) for each in (self.key, self.value)
        )
        if context.turns is not None:
            query, key = rotate(query, context.turns), rotate(key, context.turns)
        if context.past is not None:
            key, value = context.past.extend(block, key, value)
        group, length = self.heads // self.key_heads, states.shape[1]
        if length == 1:  # the queries of a group stand beside each other, so that no key is copied
            query = query.reshape(len(query), self.key_heads, group, -1)
            found = attend(query, key, value, context.mask).reshape(len(query), self.heads, 1, -1)
        else:
            key, value = (each.repeat_interleave(group, dim=1) if group > 1 else each for each in (key, value))
            found = attend(query, key, value, context.mask, causal=context.mask is None)
        return self.out(found.transpose(1, 2).flatten(2))


class CausalBlock(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)).

    Args:
        config: sizes and kind.
    """

    def __init__(self, config: BlockConfig) -> None:
        super().__init__()
        norm = nn.RMSNorm if config.gated else nn.LayerNorm
        self.attention_norm, self.norm = (norm(config.width, eps=config.epsilon) for _ in range(2))
        self.attention = GroupedAttention(config)
        self.perceptron: nn.Module = (
            GatedMlp(config.width, config.hidden) if config.gated else Mlp(config.width, config.hidden, "gelu_tanh")
        )

    def forward(self, states: Float[Tensor, "B L D"], block: int, context: ReadContext) -> Float[Tensor, "B L D"]:
        """The states one block on; arguments as for the attention."""
        states = states + self.attention(self.attention_norm(states), block, context)
        return states + self.perceptron(self.norm(states))
