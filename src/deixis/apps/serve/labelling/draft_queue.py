"""Drafts of captions that a person looks through, one picture after the other, and what pictures like it are called."""

from __future__ import annotations

from typing import NamedTuple

from deixis.apps.label.label_table import DRAFT, SURE, LabelTable
from deixis.apps.serve.labelling.label_queue import LabelQueue
from deixis.errors import DeixisError
from deixis.indexing.filters import number
from deixis.indexing.index import Index

__all__ = ["DraftQueue", "DraftText"]


class DraftText(NamedTuple):
    """A draft of a caption.

    Attributes:
        text: of it.
        sure: the chance that it names the right thing; None where that was not measured.
    """

    text: str
    sure: float | None


class DraftQueue(LabelQueue):
    """The pictures that have a draft in a csv of `deixis caption`, in its order.

    Args:
        table: the csv.
        index: of the collection that is served.

    Raises:
        DeixisError: there is no such csv, it has no drafts, or none of its pictures is in the index.
    """

    def __init__(self, table: LabelTable, index: Index) -> None:
        super().__init__(table)
        self._drafted = frozenset(table.column(DRAFT))
        if not self._drafted:
            what = "has no drafts of captions" if table.path.is_file() else "is not there"
            raise DeixisError(f"{table.path} {what}.", f"Write some: deixis caption DATA --out {table.path.name}")
        if not self.rows(index):
            raise DeixisError(
                f"None of the pictures with drafts in {table.path} is in the index.",
                "Serve an index of the same pictures: deixis index DATA --out INDEX",
            )

    def rows(self, index: Index) -> list[int]:
        """The rows with a draft when the csv was opened, in its order."""
        places = self._ordered(index).places
        return [row for row in super().rows(index) if places[row] in self._drafted]

    def absent(self, index: Index) -> int:
        """How many pictures with a draft the index does not have."""
        return len(self._drafted) - len(self.rows(index))

    def drafts(self, index: Index) -> dict[int, DraftText]:
        """The draft of each row, as it stands in the csv now."""
        texts, chances, places = self.table.column(DRAFT), self.table.column(SURE), self._ordered(index).places
        return {
            row: DraftText(texts.get(places[row], ""), _chance(chances.get(places[row]))) for row in self.rows(index)
        }

    def nearest(self, index: Index, row: int, k: int) -> list[tuple[int, str]]:
        """The captioned pictures that are nearest to a row, each with its caption."""
        captions = {each: entry for each, entry in self.entries(index).items() if entry.caption}
        return [(each, captions[each].caption) for each in self._nearest(index, row, captions)[:k]]


def _chance(cell: str | None) -> float | None:
    chance = number(cell)
    return chance if chance is not None and 0 <= chance <= 1 else None
