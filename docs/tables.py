"""What pages are made of: rows of results, and what makes a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Page", "Row", "Table", "between"]

Row = Mapping[str, Any]
"""A line of a file in `results/`."""

Table = Callable[[Sequence[str], Iterable[Sequence[Any]]], str]
"""Makes a table in Markdown of a head and rows."""


class Page(NamedTuple):
    """A page in Markdown, and its pictures: name under docs -> SVG."""

    text: str
    pictures: dict[str, str]


def between(text: str, begin: str, end: str, made: str) -> str:
    """A page that is written by hand, with what lies between two of its lines made anew.

    Args:
        text: of the page as it is.
        begin: the line before.
        end: the line behind.
        made: what stands between them.

    Raises:
        ValueError: the page lacks one of the lines.
    """
    before, first, rest = text.partition(begin)
    _, last, after = rest.partition(end)
    if not first or not last:
        raise ValueError(f"the page needs the lines {begin} and {end}")
    return f"{before}{begin}\n\n{made}\n\n{end}{after}"
