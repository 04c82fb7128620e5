"""Queries in another language: read in English, word by word, by a dictionary that was fetched."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

from deixis.apps.search.query import Query
from deixis.data.datasets import tongues
from deixis.data.dictionaries import Dictionary
from deixis.nn.dual import DualEncoder

__all__ = ["in_english"]

_TOKENS = 16


def in_english(query: Query, language: str, encoder: DualEncoder, say: Callable[[str], None]) -> Query:
    """The query with its texts in English; where words have several senses a text becomes several, of equal weight.

    Of the senses of a word that which the model knows as one token comes first, and of those the most frequent, as
    tokens are numbered by it.

    Args:
        query: texts of it are in the language.
        language: one of `deixis.data.datasets.tongues.LANGUAGES`.
        encoder: that reads the English.
        say: receives what was read.

    Raises:
        DeixisError: there is no dictionary of the language, it was not fetched, or it knows no word of a text.
    """
    known = Dictionary(language, _entries(language), functools.partial(_rank, encoder))
    texts, shares = _read(query.texts, known, say)
    minus, _ = _read(query.minus_texts, known, say)
    weights = tuple(query.weights) or (1.0,) * (len(query.texts) + len(query.images))
    own = [weight / count for weight, count in zip(weights, shares, strict=False) for _ in range(count)]
    plain = not query.weights and set(shares) <= {1}
    return dataclasses.replace(
        query,
        texts=texts,
        minus_texts=minus,
        weights=() if plain else (*own, *weights[len(query.texts) :]),
    )


@functools.lru_cache(maxsize=2)
def _entries(language: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(tongues.translations(language))


def _rank(encoder: DualEncoder, sense: str) -> tuple[bool, int, int]:
    ids = encoder.tokenizer([sense], _TOKENS).ids[0].tolist()
    return len(sense) == 1, len(ids), sum(ids)


def _read(
    texts: Sequence[str], known: Dictionary, say: Callable[[str], None]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """All readings of texts, and how many each has."""
    found: list[str] = []
    counts = []
    for text in texts:
        reading = known.read(text)
        more = f" (or: {'; '.join(reading.texts[1:])})" if len(reading.texts) > 1 else ""
        say(f"read as: {reading.texts[0]}{more}")
        if reading.unknown:
            say(f"not in the dictionary, left as they are: {', '.join(reading.unknown)}")
        found += reading.texts
        counts.append(len(reading.texts))
    return tuple(found), tuple(counts)
