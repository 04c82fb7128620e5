"""A text transformer that reads a text at a token of its own, which stands behind all the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.errors import DeixisError
from deixis.nn.language.text_transformer import TextConfig, TextTransformer
from deixis.types.outputs import TokenStates

__all__ = ["ClassTokenText", "ClassTokenTextConfig"]


@dataclasses.dataclass(frozen=True)
class ClassTokenTextConfig(TextConfig):
    """Sizes and layout; of those of `TextConfig`, `pool`, `end` and `fill` do not matter."""


class ClassTokenText(TextTransformer):
    """`TextTransformer`, causal, that is read at a learned class token behind the last position (Yu et al. 2022).

    As in open_clip's weights of this kind, a position is seen where the token *before* it is not number 0. So the class
    token sees a text and one position of padding, and sees itself only behind a text of full length.

    Args:
        config: sizes and layout.
    """

    def __init__(self, config: ClassTokenTextConfig) -> None:
        super().__init__(config)
        self.class_token = nn.Parameter(torch.randn(config.width) * 0.01)
        self.positions = nn.Parameter(torch.randn(config.length + 1, config.width) * 0.01)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {**super().config, "kind": "ClassTokenText"}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real (by default everywhere)."""
        tokens = tokens if mask is None else tokens * mask
        return self._read(self.words(self._padded(tokens)), self._padded(tokens) != 0)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """Every token in the shared space, through what the class token goes through. Not normalised."""
        mask = torch.ones_like(tokens, dtype=torch.bool) if mask is None else mask
        return TokenStates(self.projection(self.encode(self.words(tokens * mask), mask)), mask)

    def from_embeddings(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:  # type: ignore[override]
        """One vector of length 1 a text, from word embeddings that may come from anywhere."""
        more = self._padded(mask.long()).bool()
        words = torch.where(mask[..., None], words, self.words.weight[0])
        padding = self.words.weight[0].expand(len(words), more.shape[1] - words.shape[1], -1)
        return self._read(torch.cat([words, padding], dim=1), more)

    def encode(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """States of the last block after the norm, from word embeddings that may come from anywhere."""
        states = words + self.positions[: words.shape[1]]
        return self.norm(self.blocks(states, self._seen_behind(mask)[:, None, :], causal=True))

    @property
    def causal(self) -> bool:
        """False: what is read depends on the padding, so that the front of a text can't be computed by itself."""
        return False

    def _padded(self, tokens: Int64[Tensor, "B L"]) -> Int64[Tensor, "B M"]:
        """With one position of padding, where the text is not of full length."""
        length, most = tokens.shape[1], self._config.length
        if length > most:
            raise DeixisError(f"A text has {length} tokens, and this tower has positions for {most}.", "Cut the texts.")
        return F.pad(tokens, (0, int(length < most)))

    @staticmethod
    def _seen_behind(mask: Bool[Tensor, "B L"]) -> Bool[Tensor, "B L"]:
        return torch.cat([torch.ones_like(mask[:, :1]), mask[:, :-1]], dim=1)

    def _read(self, words: Float[Tensor, "B L F"], real: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        places = torch.cat([self.positions[: words.shape[1]], self.positions[-1:]])
        states = torch.cat([words, self.class_token.expand(len(words), 1, -1)], dim=1) + places
        seen = torch.cat([torch.ones_like(real[:, :1]), real], dim=1)
        states = self.blocks(states, seen[:, None, :], causal=True)
        return F.normalize(self.projection(self.norm(states[:, -1])), dim=-1)
