"""Words of another language are read in English, one by one: endings are cut, compounds are split."""

from __future__ import annotations

import collections
import dataclasses
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import regex

from deixis.errors import DeixisError

__all__ = ["LANGUAGE_NAMES", "Dictionary", "EnglishReading", "without_articles"]

LANGUAGE_NAMES = {"de": "German", "es": "Spanish", "fr": "French", "it": "Italian", "nl": "Dutch"}
"""In English, of the languages whose endings, compounds and articles are known here."""

_WORD = regex.compile(r"[\p{L}\p{M}\p{N}’'-]*[\p{L}\p{N}]")
_READINGS = 3
_LEAST, _PART = 3, 3  # letters that are left of a word, and of a part of a compound

_ENDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "de": tuple((ending, "") for ending in ("en", "er", "es", "em", "e", "n", "s")),
    "es": (("es", ""), ("s", ""), ("as", "o"), ("a", "o"), ("os", "o")),
    "fr": (("es", ""), ("s", ""), ("e", ""), ("x", ""), ("aux", "al"), ("lles", "l"), ("lle", "l")),
    "it": (("i", "o"), ("i", "e"), ("e", "a"), ("a", "o"), ("e", "o"), ("he", "a"), ("hi", "o")),
    "nl": (("en", ""), ("e", ""), ("s", ""), ("n", ""), ("jes", ""), ("je", "")),
}
"""What is cut from the end of a word, and what takes its place."""

_LINKS: dict[str, tuple[str, ...]] = {"de": ("", "s", "es", "n", "en", "er", "e"), "nl": ("", "s", "en", "e")}
"""Of languages with compounds, what may stand between the parts."""

_ARTICLES: dict[str, frozenset[str]] = {
    "de": frozenset("der die das den dem des ein eine einen einem einer eines".split()),
    "es": frozenset("el la los las un una unos unas".split()),
    "fr": frozenset("le la les un une des du l'".split()),
    "it": frozenset("il lo la i gli le un uno una".split()),
    "nl": frozenset("de het een".split()),
}


@dataclasses.dataclass(frozen=True)
class EnglishReading:
    """A text in English.

    Attributes:
        texts: one or more readings, the likeliest first; where a word has several senses they differ in it.
        unknown: words that are in no entry, left as they are.
    """

    texts: tuple[str, ...]
    unknown: tuple[str, ...] = ()


class Dictionary:
    """Words of a language and their English.

    Args:
        language: by its code, such as `de`.
        entries: headword and senses.
        rank: of senses, so that those of one word come in ascending order: "dog" before "corf". By default they come as
            in the dictionary.
    """

    def __init__(
        self,
        language: str,
        entries: Iterable[tuple[str, Sequence[str]]],
        rank: Callable[[str], Any] = lambda sense: 0,
    ) -> None:
        self.language, self._rank = language, rank
        self._senses: dict[str, list[str]] = collections.defaultdict(list)
        self._exact: dict[str, list[str]] = collections.defaultdict(list)
        for word, senses in entries:
            plain = unicodedata.normalize("NFKC", word)
            self._exact[plain] += senses
            if plain.casefold() != plain:
                self._senses[plain.casefold()] += senses

    def senses(self, word: str) -> tuple[str, ...]:
        """The English of a word, the likeliest first; empty where it is unknown, whole, cut and split.

        Args:
            word: of the language.
        """
        found = self._of(word)
        cut = [sense for form in self._cut(word) for sense in self._of(form)]
        if found and not (cut and _compares(self._ordered(found)[0])):
            return self._ordered(found)
        return self._ordered(cut) or self._split(word)

    def read(self, text: str) -> EnglishReading:
        """A text, word by word, articles left out.

        Args:
            text: in the language.

        Raises:
            DeixisError: it has no word, or the dictionary knows none of them.
        """
        told = _without_articles(text, self.language)
        if not told:
            raise DeixisError(f"There is no word in {text!r}.", "Say what to look for in words.")
        known = [self.senses(word) for word in told]
        unknown = tuple(word for word, senses in zip(told, known, strict=True) if not senses)
        if len(unknown) == len(told):
            raise DeixisError(
                f"None of the words of {text!r} is in the dictionary of {self.language!r}.",
                "Check the language, or leave it out to search in English.",
            )
        readings = []
        for place in range(_READINGS):
            chosen = [
                senses[min(place, len(senses) - 1)] if senses else word
                for word, senses in zip(told, known, strict=True)
            ]
            readings.append(" ".join(chosen))
        return EnglishReading(tuple(dict.fromkeys(readings)), unknown)

    def _of(self, word: str) -> list[str]:
        """Senses of the word as it is written; else without regard to capital letters."""
        if word in self._exact:
            return self._exact[word]
        low = word.casefold()
        return self._exact.get(low, []) + self._senses.get(low, [])

    def _cut(self, word: str) -> list[str]:
        pairs = _ENDINGS.get(self.language, ())
        return [
            word[: -len(ending)] + other
            for ending, other in pairs
            if word.casefold().endswith(ending) and len(word) - len(ending) >= _LEAST
        ]

    def _split(self, word: str) -> tuple[str, ...]:
        """The English of both parts of a compound, the last part being as long as can be."""
        for place in range(_PART, len(word) - _PART + 1):
            last = self._of(word[place:]) or [s for form in self._cut(word[place:]) for s in self._of(form)]
            for link in _LINKS.get(self.language, ()) if last else ():
                first = word[: place - len(link)] if word[:place].casefold().endswith(link) else ""
                if len(first) >= _PART and self._of(first):
                    return (f"{self._ordered(self._of(first))[0]} {self._ordered(last)[0]}",)
        return ()

    def _ordered(self, senses: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(dict.fromkeys(senses), key=self._rank))


def without_articles(text: str, language: str) -> str:
    """The words of a text but for articles; the words as they are, where there is nothing else.

    Args:
        text: in the language.
        language: by its code; of one whose articles are not known, none is left out.
    """
    return " ".join(_without_articles(text, language)) or text


def _without_articles(text: str, language: str) -> list[str]:
    words = _WORD.findall(unicodedata.normalize("NFKC", text))
    return [word for word in words if word.casefold() not in _ARTICLES.get(language, frozenset())]


def _compares(sense: str) -> bool:
    """Whether it looks like a comparative: `roter` is first of all a red one, and no redder one."""
    return sense.startswith("more ") or sense.endswith("er")
