"""BERT (Devlin et al. 2019, arXiv 1810.04805), and a text tower that takes the mean of its states."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.attention import Attention
from deixis.nn.layers.pooling import masked_mean, real_tokens
from deixis.types.outputs import TokenStates

__all__ = ["Bert", "BertConfig", "BertLayer", "MeanPooledText"]


@dataclasses.dataclass(frozen=True)
class BertConfig:
    """Sizes of a BERT.

    Attributes:
        vocabulary: different tokens.
        width: of the states (D).
        depth: layers.
        heads: of each layer's attention.
        hidden: width between the two linear maps of a layer.
        positions: the longest text, in tokens.
        kinds: token types; all text here is of kind 0.
        epsilon: of the layer norms.
    """

    vocabulary: int
    width: int
    depth: int
    heads: int
    hidden: int
    positions: int = 512
    kinds: int = 2
    epsilon: float = 1e-12


class BertLayer(nn.Module):
    """Attention, then two linear maps with a GELU between; a layer norm after each sum."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.attention = Attention(config.width, config.heads)
        self.attention_norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.widen = nn.Linear(config.width, config.hidden)
        self.narrow = nn.Linear(config.hidden, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)

    def forward(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "#B #L L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """The states one layer on; `mask` is true where a position may look at another."""
        states = self.attention_norm(states + self.attention(states, mask))
        return self.norm(states + self.narrow(F.gelu(self.widen(states))))


class Bert(nn.Module):
    """Token numbers to one state a token, each having looked at all others.

    Args:
        config: the sizes.
    """

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.kinds = nn.Embedding(config.kinds, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.layers = nn.ModuleList(BertLayer(config) for _ in range(config.depth))

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B L D"]:
        """States of the last layer.

        Args:
            tokens: token numbers.
            mask: true where a token is real; by default all are.
        """
        return self.encode(self.words(tokens), real_tokens(tokens, mask))

    def encode(self, words: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L D"]:
        """States of the last layer, from word embeddings (before positions are added) that may come from anywhere."""
        length = words.shape[1]
        if length > self.config.positions:
            raise ValueError(f"a text of {length} tokens is longer than the {self.config.positions} positions known")
        place = self.positions.weight[:length] + self.kinds.weight[0]
        states = self.norm(words + place)
        for layer in self.layers:
            states = layer(states, mask[:, None, :])
        return states


class MeanPooledText(nn.Module):
    """A text tower: the mean of a BERT's states over the real tokens, scaled to length 1 (Reimers and Gurevych 2019).

    With a `centre` c the result is normalise(normalise(mean) - c). A row without any real token has the mean 0: what
    comes out is finite.

    Args:
        bert: gives the states.
        centre: constant, in the space of the embeddings.
    """

    centre: Tensor | None

    def __init__(self, bert: Bert, centre: Float[Tensor, " D"] | None = None) -> None:
        super().__init__()
        self.bert = bert
        self.register_buffer("centre", centre)
        self.width = self.token_width = bert.config.width

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"pool": "mean", **dataclasses.asdict(self.bert.config)}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real (by default everywhere)."""
        mask = real_tokens(tokens, mask)
        return self.pool(self.bert(tokens, mask), mask)

    causal = False

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The word embeddings, before positions are added."""
        return self.bert.words(tokens)

    def encode(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last layer, from word embeddings that may come from anywhere."""
        return self.bert.encode(words, mask)

    def from_embeddings(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text, from word embeddings that may come from anywhere; `mask` is true where one is
        real."""
        return self.pool(self.bert.encode(words, mask), mask)

    def pool(self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """The mean of the states where `mask` is true, scaled to length 1 (and centred, where there is a centre)."""
        embedding = F.normalize(masked_mean(states, mask), dim=-1)
        return embedding if self.centre is None else F.normalize(embedding - self.centre, dim=-1)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """The states of the last layer over the length of their mean, less the centre: so that the mean of a text's
        tokens points where its embedding does. Not normalised; the mask as in a call."""
        mask = real_tokens(tokens, mask)
        states = self.bert(tokens, mask)
        states = states / masked_mean(states, mask).norm(dim=-1).clamp(min=1e-12)[:, None, None]
        return TokenStates(states if self.centre is None else states - self.centre, mask)
