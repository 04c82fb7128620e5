"""One stream over the words of a text and the regions of its picture: each attends to all of both.

A text is embedded as in BERT. A region is norm(norm(W f) + norm(G g) + kind), with its features f and its place g; it
has no position in the sequence. The rows of a pair are packed, padding of the text taken away, and go through the
layers of BERT, post-norm.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.language.bert import Bert, BertConfig, BertLayer

__all__ = ["PackedRows", "PredictionHead", "RegionEmbedder", "SingleStream", "pack"]

_PLACE = 7


class PackedRows(NamedTuple):
    """Rows of pairs, real ones first.

    Attributes:
        states: of the rows.
        mask: which are real.
        place: where each stood before.
    """

    states: Float[Tensor, "B N D"]
    mask: Bool[Tensor, "B N"]
    place: Int64[Tensor, "B N"]

    def unpacked(self, states: Float[Tensor, "B N D"], length: int) -> Float[Tensor, "B M D"]:
        """Other states of the same rows, each where it stood, and zeros where nothing was packed.

        Args:
            states: of the packed rows.
            length: how many places there were.
        """
        whole = states.new_zeros(len(states), length, states.shape[2])
        where = self.place[..., None].expand(-1, -1, states.shape[2])
        return whole.scatter(1, where, states * self.mask[..., None])


def pack(states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> PackedRows:
    """The real rows of each pair in their order, as many as the longest pair has.

    Args:
        states: rows of a text, then of regions.
        mask: which of them are real.
    """
    longest = max(1, int(mask.sum(1).amax())) if mask.numel() else mask.shape[1]
    index = (~mask).to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]
    return PackedRows(states.gather(1, index[..., None].expand(-1, -1, states.shape[2])), mask.gather(1, index), index)


class RegionEmbedder(nn.Module):
    """Features and places of regions into the space of words: a norm in each branch, and one after the sum.

    Args:
        features: width of the features (F).
        width: of the states (D).
        epsilon: of the layer norms.
    """

    def __init__(self, features: int, width: int, epsilon: float = 1e-12) -> None:
        super().__init__()
        self.feature, self.place = nn.Linear(features, width), nn.Linear(_PLACE, width)
        self.feature_norm, self.place_norm, self.norm = (nn.LayerNorm(width, eps=epsilon) for _ in range(3))

    def forward(
        self, features: Float[Tensor, "B T F"], places: Float[Tensor, "B T 7"], kind: Float[Tensor, " D"]
    ) -> Float[Tensor, "B T D"]:
        """The states of regions before the first layer.

        Args:
            features: of the regions; of a hidden one, the vector that stands for it.
            places: of `geometry7`.
            kind: what says that these are regions.
        """
        both = self.feature_norm(self.feature(features)) + self.place_norm(self.place(places))
        return self.norm(both + kind)


class _Layer(BertLayer):
    """A layer of BERT with dropout of what is added in both sums."""

    def __init__(self, config: BertConfig, dropout: float) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, states: Float[Tensor, "B L D"], mask: Bool[Tensor, "#B #L L"] | None = None
    ) -> Float[Tensor, "B L D"]:
        """The states one layer on; `mask` is true where a position may look at another."""
        states = self.attention_norm(states + self.dropout(self.attention(states, mask)))
        return self.norm(states + self.dropout(self.narrow(F.gelu(self.widen(states)))))


class SingleStream(nn.Module):
    """Embeds texts and regions and lets them attend to each other.

    Args:
        config: sizes of the BERT.
        features: width of the regions' features (F).
        dropout: of embeddings and of what layers add. That of attention's weights is left out.
    """

    def __init__(self, config: BertConfig, features: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.kinds = nn.Embedding(config.kinds, config.width)
        self.norm = nn.LayerNorm(config.width, eps=config.epsilon)
        self.regions = RegionEmbedder(features, config.width, config.epsilon)
        self.layers = nn.ModuleList(_Layer(config, dropout) for _ in range(config.depth))
        self.dropout = nn.Dropout(dropout)

    @torch.no_grad()
    def start_from(self, bert: Bert) -> None:
        """Takes over the embeddings of a BERT of the same width, and as many of its layers as there are here."""
        for mine, theirs in (
            (self.words, bert.words),
            (self.positions, bert.positions),
            (self.kinds, bert.kinds),
            (self.norm, bert.norm),
            *zip(self.layers, bert.layers, strict=False),
        ):
            for name, value in mine.named_parameters():
                value.copy_(theirs.get_parameter(name)[: len(value)])

    def embed_words(
        self,
        tokens: Int64[Tensor, "B L"],
        hidden: Bool[Tensor, "B L"] | None = None,
        hidden_word: Float[Tensor, " D"] | None = None,
    ) -> Float[Tensor, "B L D"]:
        """The states of tokens before the first layer.

        Args:
            tokens: token numbers.
            hidden: in whose place `hidden_word` stands.
            hidden_word: the vector of a hidden word.
        """
        words = self.words(tokens)
        if hidden is not None and hidden_word is not None:
            words = torch.where(hidden[..., None], hidden_word, words)
        return self.dropout(self.norm(words + self.positions.weight[: tokens.shape[1]] + self.kinds.weight[0]))

    def embed_regions(self, features: Float[Tensor, "B T F"], places: Float[Tensor, "B T 7"]) -> Float[Tensor, "B T D"]:
        """The states of regions before the first layer."""
        return self.dropout(self.regions(features, places, self.kinds.weight[1]))

    def attend(self, states: Float[Tensor, "B N D"], mask: Bool[Tensor, "B N"]) -> Float[Tensor, "B N D"]:
        """The states behind the last layer.

        Args:
            states: packed rows.
            mask: which of them are real.
        """
        for layer in self.layers:
            states = layer(states, mask[:, None])
        return states

    def forward(
        self,
        words: Float[Tensor, "B L D"],
        word_mask: Bool[Tensor, "B L"],
        regions: Float[Tensor, "B T D"],
        region_mask: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B L D"], Float[Tensor, "B T D"]]:
        """The states of words and of regions behind the last layer; zeros for padding.

        Args:
            words: of `embed_words`.
            word_mask: which are real.
            regions: of `embed_regions`.
            region_mask: which are real.
        """
        length = words.shape[1]
        packed = pack(torch.cat([words, regions], dim=1), torch.cat([word_mask, region_mask], dim=1))
        whole = packed.unpacked(self.attend(packed.states, packed.mask), length + regions.shape[1])
        return whole[:, :length], whole[:, length:]


class PredictionHead(nn.Module):
    """A linear map, GELU and a layer norm: what stands before each map to what is told.

    Args:
        width: of the states (D).
        out: of what comes out (E); the same by default.
        epsilon: of the layer norm.
    """

    def __init__(self, width: int, out: int | None = None, epsilon: float = 1e-12) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(width, out or width), nn.LayerNorm(out or width, eps=epsilon)

    def forward(self, states: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """The states before the last map."""
        return self.norm(F.gelu(self.dense(states)))
