"""Long texts as sentences."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["sentence_pool", "split_sentences"]

_ENDS = re.compile(r"(?<=\.)\s+|\s*(?:\n|</s>)\s*")


def split_sentences(text: str) -> list[str]:
    """The sentences of a text: it is cut behind each full stop, at each new line and at each `</s>`.

    A full stop inside a number or a name (`1.5`, `www.example.org`) ends nothing. What has no letter or digit is left
    out.

    >>> split_sentences("A dog. It is 1.5 m long.</s>On grass")
    ['A dog.', 'It is 1.5 m long.', 'On grass']
    """
    pieces = (piece.strip() for piece in _ENDS.split(text))
    return [piece for piece in pieces if any(each.isalnum() for each in piece)]


def sentence_pool(texts: Sequence[str], keep_first: bool = False) -> tuple[str, ...]:
    """All different sentences of several texts, in their order; a text without any stands for itself.

    Args:
        texts: of one image.
        keep_first: whether the first text stays whole.
    """
    whole = texts[:1] if keep_first else ()
    rest = (sentence for text in texts[len(whole) :] for sentence in split_sentences(text) or [text])
    return tuple(dict.fromkeys((*whole, *rest)))
