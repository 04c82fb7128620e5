"""A csv of captions and labels."""

from __future__ import annotations

from typing import NamedTuple

from deixis.apps.label.filled_table import FilledTable
from deixis.data.readers.columns import Columns, ColumnTable, choose

__all__ = ["COLUMNS", "DRAFT", "SURE", "Entry", "LabelTable"]

COLUMNS = ("path", "caption", "label")
"""The columns of a new table, as `deixis adapt` reads them."""

DRAFT, SURE = "draft", "sure"
"""Columns that `deixis caption` adds; neither is read as a caption."""


class Entry(NamedTuple):
    """What is written beside a picture."""

    caption: str = ""
    label: str = ""


class LabelTable(FilledTable[Entry]):
    """A table of captions and labels; see `FilledTable`."""

    entry, header = Entry, COLUMNS

    def columns(self, header: list[str]) -> tuple[int, ...]:
        """Where path, caption and label stand, under their usual names."""
        chosen = choose(ColumnTable(self.path, "csv", header, []), Columns())
        names = (chosen.path, chosen.captions[0] if chosen.captions else COLUMNS[1], chosen.label or COLUMNS[2])
        header += [name for name in names if name not in header]
        return tuple(map(header.index, names))
