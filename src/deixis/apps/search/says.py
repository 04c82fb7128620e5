"""Pictures by the words that stand in them, as `deixis index --read` has read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deixis.apps.common.runs import opened_index
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from deixis.ops.text.spelling import edit_distance, plain_word

__all__ = ["READ", "ReadWords", "says"]

READ = "says"
"""The column of what was read."""

_FORGIVEN = 4  # letters from which on one may be wrong


class _Read(NamedTuple):
    """What was read in a picture: its row, its words, and these without spaces."""

    row: int
    words: list[str]
    joined: str


class ReadWords:
    """The words that stand in the pictures of an index.

    Args:
        index: that `deixis index --read` wrote.

    Raises:
        DeixisError: no words were kept in it.
    """

    def __init__(self, index: Index) -> None:
        self.index = index
        texts = [(row, str(item[READ])) for row, item in index.items() if READ in item]
        if not texts:
            raise DeixisError(
                f"No words were kept in {index.folder}.",
                "Index with --read: deixis index DATA --read --out INDEX",
            )
        read = ((row, _plain_words(text)) for row, text in texts)
        self._read = [_Read(row, words, "".join(words)) for row, words in read if words]

    def rows(self, words: str) -> list[int]:
        """The rows in which all of some words stand, those first in which they stand letter by letter.

        Args:
            words: in any order; case and signs don't count, and one wrong letter is forgiven in words of four letters
                or more, as are spaces that were lost in reading.

        Raises:
            DeixisError: they have no letters.
        """
        wanted = _plain_words(words)
        if not wanted:
            raise DeixisError(f"{words!r} has no letters to look for.", 'Give words, such as --says "no parking".')
        ranked = [(most, each.row) for each in self._read if (most := _most_wrong(wanted, each)) is not None]
        return [row for _, row in sorted(ranked, key=lambda pair: pair[0])]


def says(run: str | Path, words: str, k: int = 10) -> list[dict[str, Any]]:
    """The pictures in which words were read: see `ReadWords.rows`.

    Args:
        run: a folder that `deixis index --read` wrote.
        words: to be found.
        k: how many pictures at the most.

    Returns:
        Items of the index; those in which all words stand letter by letter come first.

    Raises:
        DeixisError: there is no such index, no words were kept in it, or there are none to look for.
    """
    index = opened_index(Path(run))
    return [index.item(row) for row in ReadWords(index).rows(words)[:k]]


def _plain_words(text: str) -> list[str]:
    return [plain for word in text.split() if (plain := plain_word(word))]


def _most_wrong(wanted: Sequence[str], read: _Read) -> int | None:
    """Wrong letters of the word that is read worst, 0 or 1; None where one is not there."""

    def wrong(word: str) -> int:
        if word in read.words or (len(word) >= _FORGIVEN and word in read.joined):
            return 0
        return 1 if len(word) >= _FORGIVEN and any(edit_distance(word, each) <= 1 for each in read.words) else 2

    most = max(map(wrong, wanted))
    return most if most < 2 else None
