"""The columns of an index as a page shows, filters and sorts by them."""

from __future__ import annotations

import collections
import itertools
import math
import re
import statistics
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from deixis.apps.search.query import SearchHit
from deixis.indexing.filters import FOLDER, column, folded, number, unknown
from deixis.indexing.index import Index

__all__ = ["OWN", "ColumnSummary", "SortedRows", "readable", "shortened", "sorted_hits", "summary"]

OWN = ("id", "path", "captions", "label", "hash", "root")
"""What every item has, and is no column of the user's."""

_VALUES, _LONGEST = 50, 200
_ITEMS, _CELLS = 20_000, 2_000_000  # that are looked at
_FIELDS, _WITH_VALUES = 1000, 100
_SHOWN, _SHORT = 2, 24
_ORDERS = 8  # that are remembered
_LETTERS = 300
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


class ColumnSummary(NamedTuple):
    """What is known of the columns of an index.

    Attributes:
        values: of the columns that items can be told apart by, the commonest values in order.
        fields: the names of all columns.
        shown: those that suit to be shown with each result: short, filled in, and not always the same.
    """

    values: dict[str, list[Any]]
    fields: list[str]
    shown: list[str]


def summary(index: Index) -> ColumnSummary:
    """Looks at the items of an index; of a large one, or one with hundreds of columns, at the first items only."""
    counts: dict[str, collections.Counter[Any]] = {}
    looked = cells = 0
    for _, item in itertools.islice(index.items(), _ITEMS):
        looked, cells = looked + 1, cells + len(item)
        for name, value in _cells(item):
            counter = counts.setdefault(name, collections.Counter())
            counter.update(each for each in value if len(str(each)) <= _LONGEST)
        if cells > _CELLS:
            break
    names = {str(each).rpartition("/")[2] for each in counts.get(FOLDER, ())}
    if len(names) < 2 or names == set(counts.get("label", ())):
        counts.pop(FOLDER, None)  # it says nothing, or what the label says
    told = {name: _told(each, max(_VALUES, looked // 2)) for name, each in counts.items()}
    values = dict(itertools.islice(((name, each) for name, each in told.items() if each), _WITH_VALUES))
    suitable = (name for name, each in counts.items() if name != FOLDER and _suits(each, looked))
    return ColumnSummary(values, list(counts)[:_FIELDS], list(itertools.islice(suitable, _SHOWN)))


def _cells(item: Mapping[str, Any]) -> list[tuple[str, list[Any]]]:
    """The user's columns of an item, its label first and its folder last, each with its entries."""
    names = ["label", *(name for name in item if name not in OWN), *([] if FOLDER in item else [FOLDER])]
    cells = []
    for name in names:
        value = column(item, name)
        entries = value if isinstance(value, list) else [value]
        plain = [each for each in entries if isinstance(each, str | int | float) and each != ""]
        if plain:
            cells.append((name, plain))
    return cells


def _told(counts: collections.Counter[Any], most: int) -> list[Any]:
    """The commonest values in order; of numbers and days that are nearly all different some, with the first and the
    last of them; of other such columns nothing."""
    if len(counts) <= most:
        return sorted((value for value, _ in counts.most_common(_VALUES)), key=_natural)
    ordered = sorted(counts, key=_natural)
    measured = all(number(value) is not None or _DAY.match(str(value)) for value in ordered)
    return [ordered[i * (len(ordered) - 1) // (_VALUES - 1)] for i in range(_VALUES)] if measured else []


def _suits(counts: collections.Counter[Any], looked: int) -> bool:
    lengths = [len(str(value)) for value in itertools.islice(counts, _VALUES)]
    return len(counts) > 1 and 2 * counts.total() >= looked and statistics.median(lengths) <= _SHORT


def _natural(value: Any) -> tuple[int, float, str]:
    """Numbers in their order before words in theirs."""
    read = number(value)
    return (1, 0.0, folded(value)) if read is None or math.isnan(read) else (0, read, "")


def _in_order(values: Sequence[Any], descending: bool) -> list[int]:
    """The places of values in order; those without a value come last either way."""
    firsts = [value[0] if isinstance(value, list) and value else value for value in values]
    filled = [place for place, value in enumerate(firsts) if isinstance(value, str | int | float) and value != ""]
    ordered = sorted(filled, key=lambda place: _natural(firsts[place]), reverse=descending)
    return ordered + sorted(set(range(len(values))) - set(filled))


def sorted_hits(hits: Sequence[SearchHit], name: str, descending: bool) -> list[SearchHit]:
    """Search hits in the order of a column."""
    return [hits[place] for place in _in_order([column(each.item, name) for each in hits], descending)]


class SortedRows:
    """The rows of an index in the order of a column; the last orders are remembered. Threads may share it."""

    def __init__(self) -> None:
        self._index: Index | None = None
        self._orders: dict[tuple[str, bool], Int64[np.ndarray, " N"]] = {}
        self._lock = threading.Lock()

    def __call__(self, index: Index, name: str, descending: bool) -> Int64[np.ndarray, " N"]:
        """All rows that were not removed.

        Raises:
            DeixisError: no item has such a column.
        """
        with self._lock:
            if self._index is not index or len(self._orders) >= _ORDERS:
                self._index, self._orders = index, {}
            if (name, descending) not in self._orders:
                self._orders[name, descending] = _ordered_rows(index, name, descending)
            return self._orders[name, descending]


def _ordered_rows(index: Index, name: str, descending: bool) -> Int64[np.ndarray, " N"]:
    rows, values, seen = list[int](), list[Any](), {FOLDER}
    for row, item in index.items():
        rows.append(row)
        values.append(column(item, name))
        seen.update(item)
    if rows and name not in seen:
        raise unknown(name, seen)
    return np.array(rows, np.int64)[_in_order(values, descending)]


def readable(value: Any) -> Any:
    """A value as JSON can hold it: a file name may be no UTF-8."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, list):
        return [readable(each) for each in value]
    if isinstance(value, dict):
        return {str(readable(name)): readable(each) for name, each in value.items()}
    return value


def shortened(value: Any) -> Any:
    """A value for a list of results: long texts are cut."""
    if isinstance(value, list):
        return [shortened(each) for each in value[:_VALUES]]
    text = readable(value)
    return f"{text[:_LETTERS]}…" if isinstance(text, str) and len(text) > _LETTERS else text
