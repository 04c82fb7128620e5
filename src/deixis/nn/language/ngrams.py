"""Texts as words and parts of words, numbered by a hash and not by a vocabulary: for languages of many endings and
compounds, of which no table holds all words.
"""

from __future__ import annotations

import functools
import unicodedata
import zlib
from collections.abc import Sequence
from typing import Any

import regex
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from deixis.nn.language.bag_of_words import BagConfig, BagOfWords
from deixis.types.outputs import Tokens, TokenStates

__all__ = ["NgramText", "NgramTokenizer"]

_START = 0.02
"""Deviation of new vectors: few steps touch each, and what it begins with must be small beside what these add."""

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}]+")


class NgramTokenizer:
    """Each word is a token, and so is each run of its letters between marks of its beginning and end.

    Tokens are numbered by a stable hash (CRC-32), the same on every machine and in every run; 0 is padding.

    Args:
        buckets: different numbers; what falls on one number has one vector.
        shortest: letters of a run at the least.
        longest: letters of a run at the most.
    """

    def __init__(self, buckets: int = 2**16, shortest: int = 3, longest: int = 5) -> None:
        self.buckets, self.shortest, self.longest = buckets, shortest, longest
        self._numbers = functools.lru_cache(maxsize=2**17)(self._of_word)

    @property
    def vocabulary(self) -> int:
        """Different numbers, padding among them."""
        return self.buckets + 1

    def pieces(self, text: str) -> list[str]:
        """The words and runs of a text, in order.

        >>> NgramTokenizer(longest=3).pieces("Rot!")
        ['rot', '<ro', 'rot', 'ot>']
        """
        return [piece for word in self._words(text) for piece in self._pieces(word)]

    def __call__(self, texts: Sequence[str], length: int) -> Tokens:
        """At most `length` numbers a text, padded to the longest, and which of them are real; a text without a letter
        has none."""
        rows = [[number for word in self._words(text) for number in self._numbers(word)][:length] for text in texts]
        ids = torch.zeros(len(rows), max([1, *map(len, rows)]), dtype=torch.long)
        for row, numbers in zip(ids, rows, strict=True):
            row[: len(numbers)] = torch.tensor(numbers, dtype=torch.long)
        return Tokens(ids, ids > 0)

    def _words(self, text: str) -> list[str]:
        return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())

    def _pieces(self, word: str) -> list[str]:
        marked = f"<{word}>"
        sizes = range(self.shortest, self.longest + 1)
        return [word, *(marked[i : i + n] for n in sizes for i in range(len(marked) - n + 1))]

    def _of_word(self, word: str) -> tuple[int, ...]:
        first, *runs = self._pieces(word)
        return tuple(1 + zlib.crc32(f"{kind}{piece}".encode()) % self.buckets for kind, piece in _kinds(first, runs))


def _kinds(word: str, runs: Sequence[str]) -> list[tuple[str, str]]:
    """A word and an equal run of its letters are two things."""
    return [("w ", word), *(("r ", run) for run in runs)]


class NgramText(nn.Module):
    """A text encoder: the mean of the vectors of words and runs, through a linear map; random weights.

    Args:
        width: of its embeddings (D).
        inner: width of the vectors that are averaged (F).
        buckets: how many there are.
        length: words and runs of a text at the most.
    """

    def __init__(self, width: int = 384, inner: int = 128, buckets: int = 2**16, length: int = 512) -> None:
        super().__init__()
        self.tokenizer = NgramTokenizer(buckets)
        self.network = BagOfWords(BagConfig(self.tokenizer.vocabulary, inner, width))
        nn.init.normal_(self.network.words.weight, std=_START)
        self.width, self.token_width, self.context_length = width, inner, length
        self.name, self.licence = "ngrams", "none needed: random numbers"

    @property
    def config(self) -> dict[str, Any]:
        """What the weights do not tell, as plain values."""
        return {"kind": "NgramText", "context_length": self.context_length, "network": self.network.config}

    def forward(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """One vector of length 1 a text; that of a text without a letter is 0."""
        return self.network(tokens, mask)

    def tokens(self, tokens: Int64[Tensor, "B L"], mask: Bool[Tensor, "B L"]) -> TokenStates:
        """The vectors that are averaged."""
        return TokenStates(self.embeddings(tokens), mask)

    def embeddings(self, tokens: Int64[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The vectors that are averaged."""
        return self.network.embeddings(tokens)

    def encode(self, embeddings: Float[Tensor, "B L F"], mask: Bool[Tensor, "B L"]) -> Float[Tensor, "B L F"]:
        """The same again, as none looks at another."""
        return self.network.encode(embeddings, mask)
