"""A text tower that knows no order: the mean of a text's word vectors, through one linear map."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.layers.pooling import masked_mean
from deixis.types.outputs import TokenStates

__all__ = ["BagConfig", "BagOfWords"]


@dataclasses.dataclass(frozen=True)
class BagConfig:
    """Sizes of a bag of words.

    Attributes:
        vocabulary: different tokens.
        width: of the word vectors.
        out: width of the shared space (D).
        marks: tokens that are no words (padding, start and end of a text); they do not count.
    """

    vocabulary: int
    width: int
    out: int
    marks: tuple[int, ...] = (0,)


class BagOfWords(nn.Module):
    """A text tower: word vectors, their mean, a linear map without bias. A text without words has the embedding 0.

    Args:
        config: sizes.
    """

    def __init__(self, config: BagConfig) -> None:
        super().__init__()
        self._config = config
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.projection = nn.Linear(config.width, config.out, bias=False)
        self.width, self.token_width = config.out, config.width
        nn.init.normal_(self.projection.weight, std=config.width**-0.5)

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not determine, as plain values."""
        return {"kind": "BagOfWords", **dataclasses.asdict(self._config)}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; `mask` is true where a token is real (by default everywhere)."""
        mean = masked_mean(self.words(tokens), self._words_in(tokens, mask))
        return F.normalize(self.projection(mean), dim=-1)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None = None) -> TokenStates:
        """Every word in the shared space, as if it were the whole text. Not normalised."""
        return TokenStates(self.projection(self.words(tokens)), self._words_in(tokens, mask))

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The word vectors."""
        return self.words(tokens)

    def encode(self, words: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The words as they are, as none looks at another."""
        return words

    def _words_in(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"] | None) -> Bool[Tensor, "B L"]:
        words = (tokens[..., None] != tokens.new_tensor(self._config.marks)).all(dim=-1)  # ONNX has no `isin`
        return words if mask is None else words & mask
