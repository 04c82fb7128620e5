"""Texts that are put to a method: whether it knows any word of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deixis.engine.training.batching import text_reader, tokenized
from deixis.errors import DeixisError

__all__ = ["require_known_words"]

_UNKNOWN = ("[UNKNOWN]", "[UNK]", "<unk>")


def require_known_words(method: Any, texts: Sequence[str], column: str = "") -> None:
    """Refuses texts of which a method knows no word.

    Args:
        method: whose tokenizer reads them.
        texts: phrases or questions.
        column: of data in which such texts stand, see `deixis.engine.training.batching.text_reader`.

    Raises:
        DeixisError: there is such a text, an empty one, or none at all.
    """
    rows, (_, tokenizer) = tokenized(method, texts, column), text_reader(method, column)
    if not hasattr(tokenizer, "pieces"):
        return
    for text, (tokens, real) in zip(texts, rows, strict=True):
        numbers = [n for n in tokens[real].tolist() if n not in tokenizer.marks]
        if numbers and all(piece in _UNKNOWN for piece in tokenizer.pieces(numbers)):
            raise DeixisError(
                f"No word of {text!r} is one that the model knows.", "Use words of the data that it learned from."
            )
