"""Which of the detector's 80 kinds a word names: a puppy is a dog, a taxi a car, an animal any of ten.

The table is made from WordNet by `bench/word_kinds.py`. It has no word that means something else as often.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping

from deixis.inputs.phrases import singular

__all__ = ["kinds_of"]


def kinds_of(words: str) -> tuple[str, ...]:
    """The kinds that a name of a thing stands for; none where the table has neither the whole of it nor its end.

    Args:
        words: lower-case, in the singular, such as `police dog`.

    >>> kinds_of("puppy"), kinds_of("red taxi"), kinds_of("squirrel")
    (('dog',), ('car',), ())
    """
    table, parts = _table(), words.split(" of ")[0].split()
    tails = (parts[at:] for at in range(len(parts)))
    names = [" ".join(form) for tail in tails for form in (tail, [*tail[:-1], singular(tail[-1])])]
    return next((table[name] for name in (words, *names) if name in table), ())


@functools.cache
def _table() -> Mapping[str, tuple[str, ...]]:
    text = importlib.resources.files(__package__).joinpath("word_kinds.txt").read_text(encoding="utf-8")
    lines = (line.partition(": ") for line in text.splitlines() if not line.startswith("#"))
    return {word: tuple(kinds.split(", ")) for kinds, _, words in lines for word in words.split(", ")}
