"""Queries in other languages, as far as their dictionaries were fetched."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import NamedTuple

from deixis.apps.common.concepts import TextReader
from deixis.apps.search.language import LanguageReader
from deixis.apps.search.query import Query
from deixis.apps.search.searcher import Searcher
from deixis.data.datasets import tongues
from deixis.data.dictionaries import LANGUAGE_NAMES

__all__ = ["QueryInLanguage", "QueryLanguages"]


class QueryInLanguage(NamedTuple):
    """A query that was read in a language.

    Attributes:
        query: as the model can be asked it.
        reader: what reads its texts; None: the model.
        notes: what was read, and by whom, in sentences.
    """

    query: Query
    reader: TextReader | None
    notes: Sequence[str]

    @property
    def english(self) -> tuple[str, ...]:
        """Its texts in English; none where a tower reads them as they are."""
        return self.query.texts if self.reader is None else ()


class QueryLanguages:
    """Reads queries in languages for the model of an index.

    Args:
        searcher: whose model reads English.

    Attributes:
        names: code and name of each language whose dictionary was in the cache at the start.
    """

    def __init__(self, searcher: Searcher) -> None:
        codes = tongues.fetched() if searcher.reads_text else ()
        self.names = {code: LANGUAGE_NAMES[code] for code in codes}
        self._searcher = searcher
        self._reader = functools.lru_cache(maxsize=2)(self._made)

    def __call__(self, query: Query, language: str, *, in_english: bool) -> QueryInLanguage:
        """Reads a query.

        Args:
            query: its texts are in the language.
            language: by its code.
            in_english: whether the texts must become English, as for what reads pairs.

        Raises:
            DeixisError: the language can't be read, or a text has no word that is known.
        """
        notes: list[str] = []
        found, reader = self._reader(language, in_english)(query, notes.append)
        return QueryInLanguage(found, reader, notes)

    def _made(self, language: str, in_english: bool) -> LanguageReader:
        return LanguageReader(language, "dictionary" if in_english else "auto", self._searcher.encoder)
