"""The page on searches in other languages, from the rows in `results/languages.jsonl`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deixis.data.dictionaries import LANGUAGE_NAMES
from docs.tables import Row, Table

__all__ = ["languages_page"]

_WAYS = {
    "english": "in English",
    "before": "as the starter reads it",
    "dictionary": "dictionary",
    "tower": "trained tower",
    "both": "both",
}

_INTRODUCTION = """Each of Tux Paint's stamps is looked for by its caption in a language, among all stamps that
have one, with the starter: as its text tower reads the words, word by word by a dictionary, by a text tower
that was trained on the dictionary and on names of emoji, and by both
([searching.md](searching.md#in-another-language)); in English by the caption of the same stamps. Figures are
the share of searches, in per cent, whose stamp is among the first ten, with 95 % intervals that resample
concepts. In bold is the way that held-out names of emoji chose, and that searches take by themselves; the
captions of stamps took no part in that."""

_TRAINING = """How many names of emoji that were held out find their English first, in per cent, by which the way is
chosen; what the tower learned from; and the seconds that the processor worked for it, reading the English included."""


def languages_page(rows: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown; of several rows of one language and way the last counts.

    Args:
        rows: of `results/languages.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    latest = {language: _latest(language, rows) for language in LANGUAGE_NAMES}
    measured = {language: found for language, found in latest.items() if "before" in found}
    found = ("language", "stamps", *_WAYS.values())
    cells = [_found(LANGUAGE_NAMES[language], each) for language, each in measured.items()]
    parts = ["# Searching in other languages", made, _INTRODUCTION, table(found, cells)]
    missing = [
        f"{LANGUAGE_NAMES[language]}: {each['missing']['why'] if each else 'not measured yet.'}"
        for language, each in latest.items()
        if language not in measured
    ]
    parts += missing
    head = ("language", *list(_WAYS.values())[1:], "entries of the dictionary", "pairs learned from", "seconds")
    parts += [_TRAINING, table(head, [_trained(LANGUAGE_NAMES[name], each) for name, each in measured.items()])]
    return "\n\n".join(parts) + "\n"


def _latest(language: str, rows: Sequence[Row]) -> dict[str, Row]:
    """The rows of the last time that a language was measured, by way."""
    own = [row for row in rows if row["language"] == language]
    last = max((row["date"] for row in own), default="")
    return {row["way"]: row for row in own if row["date"] == last}


def _found(name: str, ways: Mapping[str, Row]) -> list[str]:
    cells = [f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]" for row in _ordered(ways)]
    bold = [f"**{cell}**" if row["taken"] else cell for cell, row in zip(cells, _ordered(ways), strict=True)]
    return [name, str(ways["before"]["queries"]), *bold]


def _trained(name: str, ways: Mapping[str, Row]) -> list[str]:
    shares = [f"{100 * row['names']:.1f}" for row in _ordered(ways)[1:]]
    first = ways["before"]
    return [name, *shares, f"{first['entries']:,}", f"{first['pairs']:,}", f"{first['seconds']:.0f}"]


def _ordered(ways: Mapping[str, Row]) -> list[Row]:
    return [ways[way] for way in _WAYS]
