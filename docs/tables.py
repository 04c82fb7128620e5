"""What pages are made of: rows of results, and what makes a table of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["Row", "Table"]

Row = Mapping[str, Any]
"""A line of a file in `results/`."""

Table = Callable[[Sequence[str], Iterable[Sequence[Any]]], str]
"""Makes a table in Markdown of a head and rows."""
