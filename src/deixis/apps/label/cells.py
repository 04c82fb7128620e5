"""Texts written into cells of a csv that people open with programs for tables, which take some for formulas."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from deixis.data.readers.cells import FORMULA
from deixis.indexing.filters import number

__all__ = ["harmless", "write_rows"]


def harmless(text: str) -> str:
    """A cell that no program for tables takes for a formula; numbers stay as they are. What reads a csv, reads it as it
    was: see `deixis.data.readers.cells.plain_text`."""
    return f"'{text}" if text.startswith(FORMULA) and number(text) is None else text


def write_rows(path: Path, rows: Sequence[Sequence[str]], errors: str = "strict") -> None:
    """Writes a csv in which no cell is a formula to programs for tables.

    Args:
        path: of the file.
        rows: the names of columns first.
        errors: what becomes of letters that UTF-8 has no place for, as of `open`.
    """
    with open(path, "w", encoding="utf-8", errors=errors, newline="") as file:
        csv.writer(file).writerows([harmless(cell) for cell in row] for row in rows)
