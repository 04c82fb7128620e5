"""Pictures by the words that stand in them, as `deixis index --read` has read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deixis.apps.common.runs import opened_index
from deixis.errors import DeixisError
from deixis.ops.text.spelling import edit_distance, plain_word

__all__ = ["says"]

_COLUMN = "says"
_FORGIVEN = 4  # letters from which on one may be wrong


def says(run: str | Path, words: str, k: int = 10) -> list[dict[str, Any]]:
    """The pictures in which words were read: all of them, in any order, without regard to case and signs.

    One wrong letter is forgiven in words of four letters or more, and so are spaces that were lost in reading.

    Args:
        run: a folder that `deixis index --read` wrote.
        words: to be found.
        k: how many pictures at the most.

    Returns:
        Items of the index; those in which all words stand letter by letter come first.

    Raises:
        DeixisError: there is no such index, no words were kept in it, or there are none to look for.
    """
    wanted = [plain for word in words.split() if (plain := plain_word(word))]
    if not wanted:
        raise DeixisError(f"{words!r} has no letters to look for.", 'Give words, such as --says "no parking".')
    items = [item for _, item in opened_index(Path(run)).items()]
    if not any(_COLUMN in item for item in items):
        raise DeixisError(f"No words were kept in {run}.", "Index with --read: deixis index DATA --read --out INDEX")
    ranked = [(most, item) for item in items if (most := _most_wrong(wanted, str(item.get(_COLUMN, "")))) is not None]
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])][:k]


def _most_wrong(wanted: Sequence[str], text: str) -> int | None:
    """Wrong letters of the word that is read worst, 0 or 1; None where one is not there."""
    read = [plain for word in text.split() if (plain := plain_word(word))]
    joined = "".join(read)

    def wrong(word: str) -> int:
        if word in read or (len(word) >= _FORGIVEN and word in joined):
            return 0
        return 1 if len(word) >= _FORGIVEN and any(edit_distance(word, each) <= 1 for each in read) else 2

    most = max(map(wrong, wanted))
    return most if most < 2 else None
