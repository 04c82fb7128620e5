"""Words compared as they are written: which are the same, and how many letters are wrong."""

from __future__ import annotations

import unicodedata

__all__ = ["edit_distance", "plain_word"]


def plain_word(word: str) -> str:
    """Letters and digits alone, without regard to case: what counts where words that were read are compared.

    >>> plain_word("AT ALL-Times!"), plain_word("Straße")
    ('atalltimes', 'strasse')
    """
    return "".join(each for each in unicodedata.normalize("NFKC", word).casefold() if each.isalnum())


def edit_distance(one: str, other: str) -> int:
    """The fewest letters to insert, delete or exchange that turn one word into the other (Levenshtein).

    >>> edit_distance("parking", "parkng"), edit_distance("", "ab"), edit_distance("kitten", "sitting")
    (1, 2, 3)
    """
    row = list(range(len(other) + 1))
    for place, letter in enumerate(one, 1):
        before, row[0] = row[0], place
        for column, against in enumerate(other, 1):
            before, row[column] = (
                row[column],
                min(row[column] + 1, row[column - 1] + 1, before + (letter != against)),
            )
    return row[-1]
