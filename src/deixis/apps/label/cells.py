"""Texts written into cells of a csv that people open with programs for tables, which take some for formulas."""

from __future__ import annotations

from deixis.data.readers.cells import FORMULA
from deixis.indexing.filters import number

__all__ = ["harmless"]


def harmless(text: str) -> str:
    """A cell that no program for tables takes for a formula; numbers stay as they are. What reads a csv, reads it as it
    was: see `deixis.data.readers.cells.plain_text`."""
    return f"'{text}" if text.startswith(FORMULA) and number(text) is None else text
