"""A pre-norm decoder through which texts read an image: what it gives is added to them behind a gate.

The layers are those of DenseCLIP's context decoder (Rao et al., Language-Guided Dense Prediction with Context-Aware
Prompting, 2022): queries, keys and values without biases, exact GELU, a memory that is normed once before all layers.
Its dropout is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.layers.attention import Attention
from deixis.nn.layers.transformer import Mlp

__all__ = ["ContextBlock", "ContextDecoder", "UnbiasedAttention"]


class UnbiasedAttention(Attention):
    """Attention whose queries, keys and values have no bias; its output has one.

    Args:
        width: of the states (D).
        heads: into how many parts they are cut; divides `width`.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__(width, heads)
        self.query, self.key, self.value = (nn.Linear(width, width, bias=False) for _ in range(3))


class ContextBlock(nn.Module):
    """x + self-attention, x + attention to the memory, x + MLP, each of the normed states.

    Args:
        width: of the states (D).
        heads: of each attention.
        hidden: width inside the MLP.
    """

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention, self.cross_attention = UnbiasedAttention(width, heads), UnbiasedAttention(width, heads)
        self.attention_norm, self.cross_norm, self.norm = (nn.LayerNorm(width) for _ in range(3))
        self.perceptron = Mlp(width, hidden, "gelu")

    def forward(
        self, states: Float[Tensor, "B N D"], memory: Float[Tensor, "B M D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B h N M"]]:
        """The states one block on, and where each head looked in the memory.

        Args:
            states: one vector a text.
            memory: what is read, normed already.
        """
        states = states + self.attention(self.attention_norm(states))
        read, weights = self.cross_attention.with_weights(self.cross_norm(states), memory=memory)
        states = states + read
        return states + self.perceptron(self.norm(states)), weights


class ContextDecoder(nn.Module):
    """Texts attend to one another and to an image; what comes out is to be added to them.

    Args:
        width: of texts and image (D).
        inner: width of the blocks.
        heads: of each attention.
        depth: how many blocks.
    """

    def __init__(self, width: int, inner: int, heads: int, depth: int) -> None:
        super().__init__()
        self.memory = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.LayerNorm(inner))
        self.enter = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner))
        self.blocks = nn.ModuleList(ContextBlock(inner, heads, 4 * inner) for _ in range(depth))
        self.leave = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, width))

    def forward(self, texts: Float[Tensor, "B C D"], image: Float[Tensor, "B M D"]) -> Float[Tensor, "B C D"]:
        """What is to be added to the texts.

        Args:
            texts: one vector a class.
            image: the states that are read, such as the whole and all cells.
        """
        return self.with_weights(texts, image)[0]

    def with_weights(
        self, texts: Float[Tensor, "B C D"], image: Float[Tensor, "B M D"]
    ) -> tuple[Float[Tensor, "B C D"], Float[Tensor, "B h C M"]]:
        """The same, and where each head of the last block looked in the image."""
        states, memory = self.enter(texts), self.memory(image)
        weights = states.new_zeros(len(states), 1, states.shape[1], memory.shape[1])
        for block in cast(Iterable[ContextBlock], self.blocks):
            states, weights = block(states, memory)
        return self.leave(states), weights
