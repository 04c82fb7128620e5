"""A tokenizer that cleans its texts first, as open_clip does in front of tokenizers that are not CLIP's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tokenizers

from deixis.errors import DeixisError
from deixis.inputs.clip_bpe import Cleaning, clean, clean_with_map
from deixis.inputs.tokenizer import Tokenizer
from deixis.types.outputs import Tokens

__all__ = ["CleanedTokenizer"]


class CleanedTokenizer(Tokenizer):
    """A `Tokenizer` of cleaned texts; places in a text are those of the original.

    Args:
        backend: the rules.
        cleaning: what is done to a text.
        dropped: a token that gives way to number 0 wherever it stands, such as the one that ends a text; none by
            default.

    Raises:
        DeixisError: the rules have no such token.
    """

    def __init__(self, backend: tokenizers.Tokenizer, cleaning: Cleaning, dropped: str = "") -> None:
        super().__init__(backend)
        self._cleaning, self._dropped = cleaning, dropped
        self._number = self._rules.token_to_id(dropped) if dropped else None
        if dropped and self._number is None:
            raise DeixisError(f"The tokenizer has no token {dropped!r}.", "Take the tokenizer of the checkpoint.")

    def to_dict(self) -> dict[str, Any]:
        """The rules in the form of a `tokenizer.json`, and besides, as `cleaning`, what it does not know."""
        return {**super().to_dict(), "cleaning": {"how": self._cleaning, "dropped": self._dropped}}

    def __call__(self, texts: Sequence[str], length: int) -> Tokens:
        """As of a `Tokenizer`."""
        ids, mask = super().__call__(texts, length)
        return Tokens(ids if self._number is None else ids.masked_fill(ids == self._number, 0), mask)

    def encode_spans(self, text: str, spans: Sequence[tuple[int, int]], length: int) -> list[tuple[int, int] | None]:
        """Where stretches of the original text lie among the tokens; see `Tokenizer.encode_spans`."""
        return self._overlapping(self._places(text, length), spans)

    def _places(self, text: str, length: int) -> dict[int, tuple[int, int]]:
        """As in `Tokenizer`, in the original text."""
        _, ranges = clean_with_map(text, self._cleaning)
        places = super()._places(text, length)
        return {
            position: (ranges[first][0], ranges[last - 1][1])
            for position, (first, last) in places.items()
            if first < last <= len(ranges)
        }

    def _encode(self, texts: Sequence[str]) -> list[tokenizers.Encoding]:
        return super()._encode([clean(text, self._cleaning) for text in texts])
