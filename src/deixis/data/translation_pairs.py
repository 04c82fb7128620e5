"""What a text tower learns a language from: words and short phrases with their English, the commonest first."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Sequence

from deixis.data.dictionaries import without_articles

__all__ = ["translation_pairs"]

_LONGEST, _SENSES = 3, 2


def translation_pairs(entries: Iterable[tuple[str, Sequence[str]]], language: str, most: int) -> list[tuple[str, str]]:
    """Pairs of a dictionary, those first whose English the dictionary has most often: "house", and no "undecahedra".

    A headword has at most two pairs, its commonest senses; articles are left out of it. Each English text comes once,
    with its first headword: in a batch, equal ones would be each other's wrong answers.

    Args:
        entries: headword and senses.
        language: of the headwords, by its code.
        most: how many pairs.
    """
    read = list(entries)
    counts = collections.Counter(word for _, senses in read for sense in senses for word in _words(sense))
    found: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for headword, senses in read:
        if len(headword.split()) <= _LONGEST:
            word = without_articles(headword, language)
            found[word] |= {sense: _commonness(sense, counts) for sense in senses}
    best = (
        (count, word, sense)
        for word, senses in found.items()
        for sense, count in sorted(senses.items(), key=lambda item: -item[1])[:_SENSES]
        if count
    )
    first: dict[str, str] = {}
    for _, word, sense in sorted(best, key=lambda item: -item[0]):
        first.setdefault(sense, word)
    return [(word, sense) for sense, word in itertools.islice(first.items(), most)]


def _words(sense: str) -> list[str]:
    return sense.casefold().split()


def _commonness(sense: str, counts: collections.Counter[str]) -> int:
    """How often the rarest word of an English text comes; 0 for what is no short text of letters."""
    words = _words(sense)
    plain = len(words) <= _LONGEST and all(letter.isalpha() or letter in " -'" for letter in sense)
    return min(counts[word] for word in words) if plain and words else 0
