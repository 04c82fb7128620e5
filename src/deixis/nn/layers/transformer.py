"""The residual block that CLIP's and SigLIP's towers are stacks of, and the activations that must not be mixed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias, cast

from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention import Attention

__all__ = ["ACTIVATIONS", "Activation", "KeysAndValues", "Mlp", "TransformerBlock", "TransformerEncoder", "quick_gelu"]

Activation: TypeAlias = Literal["gelu", "quick_gelu", "gelu_tanh"]
"""`gelu` is the exact one, `quick_gelu` that of OpenAI's weights, `gelu_tanh` that of SigLIP's."""

KeysAndValues: TypeAlias = tuple[Float[Tensor, "G h P d"], Float[Tensor, "G h P d"]]
"""What an attention keeps of states that others stand behind."""


def quick_gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The GELU of OpenAI's weights: x sigmoid(1.702 x), written so that one tensor less is kept for the gradient."""
    return F.silu(1.702 * x) * (1 / 1.702)


def _gelu_tanh(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "quick_gelu": quick_gelu,
    "gelu_tanh": _gelu_tanh,
}


class Mlp(nn.Module):
    """Two linear maps with an activation between.

    Args:
        width: of the states (D).
        hidden: width between the maps.
        activation: one of `ACTIVATIONS`.
    """

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"there is no activation {activation!r}; there are {', '.join(ACTIVATIONS)}")
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.activation = activation

    def forward(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
        """Each state mapped on its own."""
        return self.narrow(ACTIVATIONS[self.activation](self.widen(states)))

    def extra_repr(self) -> str:
        """The activation, for `print`."""
        return f"activation={self.activation}"


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)).

    Args:
        width: of the states (D).
        heads: of the attention.
        hidden: width inside the perceptron.
        activation: one of `ACTIVATIONS`.
        epsilon: of the layer norms.
    """

    def __init__(self, width: int, heads: int, hidden: int, activation: Activation, epsilon: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=epsilon)
        self.attention = Attention(width, heads)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.perceptron = Mlp(width, hidden, activation)

    def forward(
        self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "#B #N #N"] | None = None, *, causal: bool = False
    ) -> Float[Tensor, "B N D"]:
        """The states one block on.

        Args:
            states: one vector a position.
            mask: true where a position (second axis) may attend to another (third axis).
            causal: position n sees 0 to n only.
        """
        states = states + self.attention(self.attention_norm(states), mask, causal=causal)
        return states + self.perceptron(self.norm(states))

    def forward_cached(self, states: Float[Tensor, "B N D"], kv_cache: KeysAndValues) -> Float[Tensor, "B N D"]:
        """What `forward` gives, causal, for states that follow those of `kv_cache`, see `Attention.attend_cached`."""
        states = states + self.attention.attend_cached(self.attention_norm(states), kv_cache)
        return states + self.perceptron(self.norm(states))


class TransformerEncoder(nn.ModuleList):
    """Blocks one after the other.

    Args:
        depth: how many.
        width: of the states (D).
        heads: of each attention.
        hidden: width inside each perceptron.
        activation: one of `ACTIVATIONS`.
        epsilon: of the layer norms.
    """

    def __init__(
        self, depth: int, width: int, heads: int, hidden: int, *, activation: Activation, epsilon: float
    ) -> None:
        super().__init__(TransformerBlock(width, heads, hidden, activation, epsilon) for _ in range(depth))

    def forward(
        self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "#B #N #N"] | None = None, *, causal: bool = False
    ) -> Float[Tensor, "B N D"]:
        """The states after the last block."""
        for block in self:
            states = block(states, mask, causal=causal)
        return states

    def each(
        self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "#B #N #N"] | None = None, *, causal: bool = False
    ) -> list[Float[Tensor, "B N D"]]:
        """The states as they come in, and after each block: one entry more than blocks."""
        found = [states]
        for block in self:
            found.append(block(found[-1], mask, causal=causal))
        return found

    def kv_cache(self, states: Float[Tensor, "G N D"]) -> list[KeysAndValues]:
        """Keys and values of each block for states, causal, that come before others; for `forward_cached`."""
        kept = []
        for number, block in enumerate(cast(Iterable[TransformerBlock], self)):
            kept.append(block.attention.kv_cache(block.attention_norm(states)))
            states = block(states, causal=True) if number + 1 < len(self) else states
        return kept

    def forward_cached(
        self, states: Float[Tensor, "B N D"], kv_cache: Sequence[KeysAndValues]
    ) -> Float[Tensor, "B N D"]:
        """What `forward` gives, causal, for states that follow others, whose `kv_cache` is given."""
        for block, kept in zip(cast(Iterable[TransformerBlock], self), kv_cache, strict=True):
            states = block.forward_cached(states, kept)
        return states
