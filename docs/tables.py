"""What pages are made of: rows of results, and what makes a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Page", "Row", "Table"]

Row = Mapping[str, Any]
"""A line of a file in `results/`."""

Table = Callable[[Sequence[str], Iterable[Sequence[Any]]], str]
"""Makes a table in Markdown of a head and rows."""


class Page(NamedTuple):
    """A page in Markdown, and its pictures: name under docs -> SVG."""

    text: str
    pictures: dict[str, str]
