"""Tags of pictures as numbers."""

from __future__ import annotations

import collections
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Int64
from torch import Tensor

from deixis.errors import DeixisError
from deixis.types import Sample

__all__ = ["TagTable", "cut", "tag_table", "tags_of"]

_NAMES = ("tags", "keywords")
_CUT = re.compile(r"[,;\n]")


class TagTable(NamedTuple):
    """Tags of all pictures.

    Attributes:
        words: V of them, the commonest first.
        tags: [N, T], numbers of each picture's words; -1: none.
    """

    words: tuple[str, ...]
    tags: Int64[Tensor, "N T"]

    def take(self, index: Sequence[int]) -> TagTable:
        """The pictures at `index`."""
        return TagTable(self.words, self.tags[torch.as_tensor(index, dtype=torch.long)])


def tags_of(samples: Sequence[Sample], column: str) -> list[list[str]]:
    """The tags of each sample, in lower case, each once.

    Args:
        samples: with a column of tags.
        column: its name; empty: `tags` or `keywords`.

    Raises:
        DeixisError: no sample has such a column.
    """
    names = (column,) if column else _NAMES
    found = next((name for name in names if any(name in sample.extra for sample in samples)), None)
    if found is None:
        there = sorted({name for sample in samples for name in sample.extra})
        raise DeixisError(
            f"There is no column {' or '.join(map(repr, names))}.",
            f"Name the column of tags with --tags; there are: {', '.join(there)}." if there else "Give a csv with one.",
        )
    return [cut(sample.extra.get(found)) for sample in samples]


def cut(value: Any) -> list[str]:
    """The tags of a cell, in lower case, each once.

    Args:
        value: a text with commas, semicolons or line breaks between tags, or a list of tags.
    """
    texts = [value] if isinstance(value, str) else [str(each) for each in value or ()]
    parts = [part for text in texts for part in _CUT.split(text)]
    return list(dict.fromkeys(each for part in parts if (each := " ".join(part.split()).lower())))


def tag_table(tags: Sequence[Sequence[str]], least: int, most: int) -> TagTable:
    """The tags that count, as numbers.

    Args:
        tags: of each picture.
        least: pictures that a tag must have.
        most: tags that count.

    Raises:
        DeixisError: fewer than three tags count.
    """
    counts = collections.Counter(word for row in tags for word in set(row))
    order = sorted((word for word, count in counts.items() if count >= least), key=lambda word: (-counts[word], word))
    words = order[:most]
    if len(words) < 3:
        raise DeixisError(
            f"{len(counts)} different tags were found, {len(words)} of them on {least} pictures or more.",
            "At least 3 are needed: tag more pictures, or lower --least.",
        )
    numbers = {word: number for number, word in enumerate(words)}
    rows = [[numbers[word] for word in row if word in numbers] for row in tags]
    width = max(map(len, rows))
    return TagTable(tuple(words), torch.tensor([row + [-1] * (width - len(row)) for row in rows]))
