"""What a sentence quotes of a text: words in quotation marks, and where they stand in it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

__all__ = ["places_of", "quotations"]

_QUOTED = re.compile(r"""["“»«]\s*([^"“”»«]*?)\s*["”«»]|(?<!\w)'([^']+)'(?!\w)""")
_SIGNS = re.compile(r"^\W+|\W+$")


def quotations(sentence: str) -> list[tuple[int, int, list[str]]]:
    """Where each quotation begins and ends, its marks included, and its words.

    Args:
        sentence: with words in quotation marks.
    """
    return [(each.start(), each.end(), (each[1] or each[2] or "").split()) for each in _QUOTED.finditer(sentence)]


def places_of(run: Sequence[str], words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Where neighbouring words of a text are these, whatever their case and the signs around them: the first, and the
    one behind the last.

    Args:
        run: that is looked for.
        words: of the text.
    """
    wanted, there = ([_SIGNS.sub("", each).casefold() for each in some] for some in (run, words))
    for first in range(len(there) - len(wanted) + 1 if wanted else 0):
        if there[first : first + len(wanted)] == wanted:
            yield first, first + len(wanted)
