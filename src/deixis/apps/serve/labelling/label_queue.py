"""Which pictures are to be labelled in which order, and what is suggested for each."""

from __future__ import annotations

import collections
import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple

import numpy as np
from jaxtyping import Float32

from deixis.apps.common.dataset import in_a_sentence
from deixis.apps.label.filled_table import EntryType, FilledTable
from deixis.apps.label.label_table import Entry, LabelTable
from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder

__all__ = ["LabelQueue", "PictureQueue", "Suggestions"]

_NEAREST, _EXAMPLES = 20, 20_000
_LABELS, _CAPTIONS, _MATCHES = 9, 5, 12
_READ = 300  # classes whose names are read by the model, where there are no examples


class Suggestions(NamedTuple):
    """What a picture may be: classes and captions, the likeliest first."""

    labels: list[str]
    captions: list[str]


@dataclasses.dataclass(frozen=True)
class _Order:
    """The rows of an index in the order in which they are labelled."""

    index: Index
    rows: list[int]
    places: dict[int, str]
    own: dict[int, Entry]


class PictureQueue(Generic[EntryType]):
    """The pictures of an index beside a table. Threads may share it.

    Args:
        table: where what is said of them is saved.
    """

    def __init__(self, table: FilledTable[EntryType]) -> None:
        self.table = table
        self._listed = list(table.entries())  # at first: what is added later moves no picture to another position
        self._order: _Order | None = None
        self._lock = threading.Lock()

    def rows(self, index: Index) -> list[int]:
        """All rows: first those that the table lists, in its order, then the others."""
        return self._ordered(index).rows

    def place(self, index: Index, row: int) -> str:
        """What the table calls the picture of a row."""
        return self._ordered(index).places[row]

    def entry(self, index: Index, row: int) -> EntryType:
        """What is saved for a row."""
        return self.entries(index).get(row, self.table.entry())

    def entries(self, index: Index) -> dict[int, EntryType]:
        """What is saved, by row."""
        saved, places = self.table.entries(), self._ordered(index).places
        found = {row: saved.get(place, self.table.entry()) for row, place in places.items()}
        return {row: entry for row, entry in found.items() if any(entry)}

    def save(
        self, index: Index, row: int, entry: EntryType, before: EntryType, beside: Mapping[str, str] | None = None
    ) -> None:
        """Saves what a row is.

        Raises:
            DeixisError: as `FilledTable.save`.
        """
        self.table.save(self.place(index, row), entry, before, beside)

    def _ordered(self, index: Index) -> _Order:
        with self._lock:
            if self._order is None or self._order.index is not index:
                self._order = _ordered(index, self._listed)
            return self._order


class LabelQueue(PictureQueue[Entry]):
    """The pictures of an index beside a table of labels.

    Args:
        table: where labels are saved.
    """

    def __init__(self, table: LabelTable) -> None:
        super().__init__(table)
        self._names: dict[str, Float32[np.ndarray, " D"]] = {}

    def classes(self, index: Index) -> list[str]:
        """All class names, of the table and of the index, the commonest first."""
        order, entries = self._ordered(index), self.entries(index)
        counts = collections.Counter(entry.label for entry in entries.values() if entry.label)
        counts.update(dict.fromkeys({entry.label for entry in order.own.values() if entry.label} - counts.keys(), 0))
        return [name for name, _ in counts.most_common()]

    def matches(self, index: Index, words: str) -> list[str]:
        """Class names that hold some words, those that begin with them first."""
        wanted = words.casefold().strip()
        holding = [name for name in self.classes(index) if wanted in name.casefold()]
        return sorted(holding, key=lambda name: not name.casefold().startswith(wanted))[:_MATCHES]

    def suggestions(self, index: Index, row: int, encoder: DualEncoder) -> Suggestions:
        """What a picture may be: what its own data says, what the labelled pictures nearest to it are, and, as long as
        there are few classes, those whose names the model finds nearest. In the model's thread."""
        own, entries = self._ordered(index).own.get(row, Entry()), self.entries(index)
        near = [entries[each] for each in self._nearest(index, row, entries)]
        labels = [own.label, *(entry.label for entry in near), *self._named(index, row, encoder)]
        captions = [own.caption, *(entry.caption for entry in near)]
        return Suggestions(_distinct(labels)[:_LABELS], _distinct(captions)[:_CAPTIONS])

    def _nearest(self, index: Index, row: int, entries: Mapping[int, Entry]) -> list[int]:
        others = np.array([each for each in entries if each != row][-_EXAMPLES:], np.int64)
        if not len(others):
            return []
        scores = np.asarray(index.vectors[others], np.float32) @ index.vector(row)
        return others[np.argsort(-scores, kind="stable")[:_NEAREST]].tolist()

    def _named(self, index: Index, row: int, encoder: DualEncoder) -> list[str]:
        names = self.classes(index)
        if not encoder.reads_text or not names or len(names) > _READ:
            return []
        fresh = [name for name in names if name not in self._names]
        if fresh:
            vectors = np.asarray(encoder.encode_text([in_a_sentence(name) for name in fresh]).cpu())
            self._names.update(zip(fresh, vectors, strict=True))
        scores = np.stack([self._names[name] for name in names]) @ index.vector(row)
        return [names[place] for place in np.argsort(-scores, kind="stable")]


def _ordered(index: Index, listed: Sequence[str]) -> _Order:
    rank = {place: number for number, place in enumerate(listed)}
    places, own = dict[int, str](), dict[int, Entry]()
    for row, item in index.items():
        places[row] = os.path.normpath(str(item["path"]))
        own[row] = _own(item)
    rows = sorted(places, key=lambda row: rank.get(places[row], len(rank)))
    return _Order(index, rows, places, own)


def _own(item: Mapping[str, Any]) -> Entry:
    return Entry(next(iter(item.get("captions") or ()), ""), str(item.get("label") or ""))


def _distinct(texts: Sequence[str]) -> list[str]:
    return [text for text in dict.fromkeys(texts) if text]
