"""Queries in another language: read by a dictionary that was fetched, by a text tower that learned from it, or both."""

from __future__ import annotations

import dataclasses
import functools
import unicodedata
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float32

from deixis.apps.common.concepts import TextReader, spoken
from deixis.apps.languages.look_up import dictionary_for
from deixis.apps.languages.readers import read_aloud, reading_of, vectors_by
from deixis.apps.languages.settings import LanguageWay
from deixis.apps.languages.trained import read_tower
from deixis.apps.search.query import Query
from deixis.data.datasets import tongues
from deixis.data.dictionaries import LANGUAGE_NAMES, Dictionary
from deixis.engine.language_tower import TowerReader
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder

__all__ = ["LanguageReader"]


class LanguageReader:
    """Reads queries in a language for a model of English.

    Args:
        language: one of `deixis.data.datasets.tongues.LANGUAGES`.
        by: who reads; `auto`: who did best on held-out names when the tower was trained, or the dictionary, where no
            tower was trained for the model's texts.
        encoder: that reads the English.

    Raises:
        DeixisError: there is no dictionary of the language, it was not fetched, or a tower is requested and there is
            none for this model.
    """

    def __init__(self, language: str, by: Literal["auto"] | LanguageWay, encoder: DualEncoder) -> None:
        if language not in tongues.LANGUAGES:
            raise DeixisError(
                f"There is no dictionary for {language!r}.", f"There are: {', '.join(tongues.LANGUAGES)}."
            )
        without = by == "dictionary" or encoder.traits.similarity != "embeddings"
        found = None if without else read_tower(language, encoder)
        if found is None and by in ("tower", "both"):
            raise DeixisError(
                f"No text tower was trained that reads {LANGUAGE_NAMES[language]} in the place of that of "
                f"{encoder.name}.",
                f"Run: deixis data get language-{language} (it is for models with the starter's texts), or leave out "
                "--language-by.",
            )
        self._language, self._encoder = language, encoder
        self._tower = None if found is None else TowerReader(found[1], encoder)
        self.way: LanguageWay = "dictionary" if found is None else found[0].way if by == "auto" else by
        self._dictionary = None if self.way == "tower" else dictionary_for(language, encoder)

    def __call__(self, query: Query, say: Callable[[str], None]) -> tuple[Query, TextReader | None]:
        """The query as the model can be asked it, and what reads its texts; None: the model itself.

        Args:
            query: texts of it are in the language.
            say: receives what was read, and by whom.

        Raises:
            DeixisError: the dictionary knows no word of a text that it alone reads, or a text has no letter that a
                tower could know.
        """
        if self.way == "dictionary":
            assert self._dictionary is not None
            return _in_english(query, self._dictionary, say), None
        assert self._tower is not None
        for text in (*query.texts, *query.minus_texts):
            _require_latin(text, self._language)
        beside = "the dictionary and " if self._dictionary else ""
        say(f"{LANGUAGE_NAMES[self._language]} is read by {beside}a text tower.")
        towers = (self._encoder, self._tower)
        return query, functools.partial(_read_texts, self._dictionary, towers, self._language, say)


def _read_texts(
    dictionary: Dictionary | None,
    encoders: tuple[DualEncoder, TowerReader],
    language: str,
    say: Callable[[str], None],
    texts: Sequence[str],
) -> Float32[np.ndarray, "N D"]:
    if dictionary is None:
        rows = vectors_by("tower", texts, (), *encoders, language)
    else:
        readings = [reading_of(text, dictionary) for text in texts]
        for reading in readings:
            read_aloud(reading, say)
        rows = vectors_by("both", texts, readings, *encoders, language)
    return np.asarray(rows.detach().cpu(), np.float32)


def _require_latin(text: str, language: str) -> None:
    """Refuses what has no letter that a tower could know."""
    if not any(unicodedata.name(letter, "").startswith("LATIN") for letter in spoken(text)):
        raise DeixisError(
            f"There is no word in {text!r} in the letters of {LANGUAGE_NAMES[language]}.",
            "Check the language, or leave it out.",
        )


def _in_english(query: Query, known: Dictionary, say: Callable[[str], None]) -> Query:
    """The query with its texts in English; where words have several senses a text becomes several, of equal weight."""
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


def _read(
    texts: Sequence[str], known: Dictionary, say: Callable[[str], None]
) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """All readings of texts, and how many each has."""
    found: list[str] = []
    counts = []
    for text in texts:
        reading = known.read(text)
        read_aloud(reading, say)
        found += reading.texts
        counts.append(len(reading.texts))
    return tuple(found), tuple(counts)
