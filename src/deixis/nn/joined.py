"""Towers of a dual encoder out of an image encoder and a text encoder that need not know each other.

Each side is projected into the shared space without a bias, state by state; the embedding is the direction of the mean
of the projected states, which is the projection of their mean:

    tokens_i = W c_i,     embedding = normalise(mean_i W c_i) = normalise(W mean_i c_i)

So a cell of the picture, or a word, can be compared with whatever the other side says. How the parts pool by
themselves is not used.
"""

from __future__ import annotations

from typing import Any, cast

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.pooling import masked_mean, real_tokens
from deixis.nn.vision.pyramid import Level
from deixis.types.outputs import ImageStates, TokenStates
from deixis.types.protocols import ImageEncoder, TextEncoder

__all__ = ["ProjectedImage", "ProjectedText"]


class ProjectedImage(nn.Module):
    """The image tower.

    Args:
        encoder: gives the cells.
        width: of the shared space (D).
    """

    def __init__(self, encoder: ImageEncoder, width: int) -> None:
        super().__init__()
        self.encoder = cast(Any, encoder)
        self.width, self.feature_width = width, encoder.token_width
        self.project = nn.Linear(self.feature_width, width, bias=False)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"pool": "mean", "encoder": getattr(self.encoder, "config", {})}

    @property
    def levels(self) -> tuple[Level, ...]:
        """Of the maps that `feature_maps` gives."""
        return tuple(Level(*each) for each in zip(self.encoder.channels, self.encoder.strides, strict=True))

    def cells(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B F h w"]:
        """The map that is projected."""
        tokens = self.encoder.tokens(images)
        return tokens.states.transpose(1, 2).unflatten(2, tokens.grid)

    def feature_maps(self, images: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B c h w"]]:
        """One map a stride, of the encoder."""
        return self.encoder.feature_maps(images)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> ImageStates:
        """Embeddings of length 1, the mean of the cells before the projection, and doubt 1."""
        tokens = self.encoder.tokens(images)
        features = masked_mean(tokens.states, tokens.mask)
        return ImageStates(F.normalize(self.project(features), dim=-1), features, features.new_ones(len(features)))

    def tokens(self, images: Float[Tensor, "B 3 H W"]) -> TokenStates:
        """The projected cells; not normalised."""
        tokens = self.encoder.tokens(images)
        return TokenStates(self.project(tokens.states), tokens.mask, tokens.grid)


class ProjectedText(nn.Module):
    """The text tower; it can be given embeddings of words in place of tokens, for prompts that are learned.

    Args:
        encoder: gives the states.
        width: of the shared space (D).
    """

    def __init__(self, encoder: TextEncoder, width: int) -> None:
        super().__init__()
        self.encoder = cast(Any, encoder)
        self.width, self.token_width = width, encoder.token_width
        self.causal = False  # a mean changes with whatever follows, so no part of a text can be reused
        self.project = nn.Linear(self.token_width, width, bias=False)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"pool": "mean", "encoder": getattr(self.encoder, "config", {})}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real (by default everywhere)."""
        return self.from_embeddings(self.embeddings(tokens), real_tokens(tokens, mask))

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """The projected states of the last layer; not normalised, the mask as in a call."""
        mask = real_tokens(tokens, mask)
        return TokenStates(self.project(self.encoder.tokens(tokens, mask).states), mask)

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The word embeddings, before positions are added."""
        return self.encoder.embeddings(tokens)

    def encode(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last layer before the projection, from word embeddings that may come from anywhere."""
        return self.encoder.encode(words, mask)

    def from_embeddings(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text, from word embeddings that may come from anywhere."""
        return F.normalize(self.project(masked_mean(self.encode(words, mask), mask)), dim=-1)
