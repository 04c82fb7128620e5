"""Which classes a result says are taken for which, arranged for reading."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["ConfusionCell", "ConfusionTable", "confusion_table"]

_LARGEST, _PAIRS = 16, 12


class ConfusionCell(NamedTuple):
    """Of 100 pictures of a class (row), how many are taken for another (column), before and after."""

    before: int
    after: int
    right: bool


class ConfusionTable(NamedTuple):
    """The matrix, where there are few enough classes for one, and the commonest confusions.

    Attributes:
        names: of the columns; empty where there are too many.
        rows: true class, and a cell for each column.
        pairs: true class, the class it is taken for, how often before and after.
        answers: how many predictions on held-out pictures this counts.
    """

    names: list[str]
    rows: list[tuple[str, list[ConfusionCell]]]
    pairs: list[tuple[str, str, int, int]]
    answers: int


def confusion_table(result: Mapping[str, Any]) -> ConfusionTable | None:
    """The part `classes` of a result; None where there is none."""
    part = result.get("classes")
    if not isinstance(part, Mapping):
        return None
    names = [str(name) for name in part["names"]]
    old, new = (Counter({(t, p): n for t, p, n in part[which]}) for which in ("before", "after"))
    wrong = [pair for pair in old.keys() | new.keys() if pair[0] != pair[1]]
    wrong.sort(key=lambda pair: (-max(old[pair], new[pair]), pair))
    pairs = [(names[true], names[taken], old[true, taken], new[true, taken]) for true, taken in wrong[:_PAIRS]]
    few = len(names) <= _LARGEST
    rows = [(name, _cells(i, len(names), old, new)) for i, name in enumerate(names)] if few else []
    return ConfusionTable(names if few else [], rows, pairs, sum(new.values()))


def _cells(true: int, count: int, old: Counter[tuple[int, int]], new: Counter[tuple[int, int]]) -> list[ConfusionCell]:
    total = max(1, sum(new[true, taken] for taken in range(count)))
    return [
        ConfusionCell(round(100 * old[true, taken] / total), round(100 * new[true, taken] / total), true == taken)
        for taken in range(count)
    ]
