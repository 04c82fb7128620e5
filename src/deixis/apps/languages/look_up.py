"""Texts of another language in English, word by word, by a dictionary that was fetched."""

from __future__ import annotations

import functools

from deixis.data.datasets import tongues
from deixis.data.dictionaries import Dictionary
from deixis.nn.dual import DualEncoder

__all__ = ["dictionary_for"]

_TOKENS = 16


def dictionary_for(language: str, encoder: DualEncoder) -> Dictionary:
    """The dictionary of a language. Of the senses of a word that which the model knows as one token comes first, and of
    those the most frequent, as tokens are numbered by it.

    Args:
        language: one of `deixis.data.datasets.tongues.LANGUAGES`.
        encoder: that reads the English.

    Raises:
        DeixisError: there is no dictionary of the language, or it was not fetched.
    """
    return Dictionary(language, _entries(language), functools.partial(_rank, encoder))


@functools.lru_cache(maxsize=2)
def _entries(language: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple(tongues.translations(language))


def _rank(encoder: DualEncoder, sense: str) -> tuple[bool, int, int]:
    ids = encoder.tokenizer([sense], _TOKENS).ids[0].tolist()
    return len(sense) == 1, len(ids), sum(ids)
