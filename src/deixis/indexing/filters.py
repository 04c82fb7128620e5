"""Conditions on what the items of an index say: `label=bird`, `year>=2020`, `captions~red`.

`folder` is a column of every item, the folder part of its id, unless the data brought a column of that name.
"""

from __future__ import annotations

import difflib
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from deixis.errors import DeixisError
from deixis.indexing.segments import Segment

__all__ = ["FOLDER", "column", "folded", "matching", "number", "split", "unknown"]

FOLDER = "folder"
"""The column that every item has."""

_FORM = re.compile(r"\s*([^=!<>~]+?)\s*(!=|>=|<=|==|=|>|<|~)\s*+(?![=!<>~])(.*?)\s*", re.DOTALL)
_CURE = "Write it like label=bird, label!=bird, year>=2020, or captions~red (contains)."
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


def matching(
    segments: Sequence[Segment], live: Bool[np.ndarray, " N"] | None, conditions: Sequence[str]
) -> Bool[np.ndarray, " N"]:
    """Which rows meet all conditions; removed rows meet none.

    Numbers are compared as numbers, be they stored as text; what is no number on both sides as text, large and small
    letters alike. Of a list one entry that meets the condition is enough. `!=` is what `=` is not, so a row without the
    column differs from everything.

    Args:
        segments: of the index.
        live: which rows were not removed.
        conditions: a column, one of `= != > >= < <= ~`, and a value each.

    Raises:
        DeixisError: a condition that can't be read, or a column that no item has.
    """
    tests = [_read(condition) for condition in conditions]
    met = np.ones((len(tests), sum(map(len, segments))), bool)
    seen: set[str] = set()
    for segment in segments if tests else ():
        for row, item in enumerate(segment.lines.items(), segment.start):
            seen.update(item, (FOLDER,))
            for place, (name, test) in enumerate(tests):
                met[place, row] = test(column(item, name))
    missing = next((name for name, _ in tests if name not in seen), None)
    if missing is not None and met.size:
        raise unknown(missing, seen - {FOLDER})
    found = np.asarray(met.all(axis=0))
    return found if live is None else found & live


def column(item: Mapping[str, Any], name: str) -> Any:
    """A column of an item; None where it has none of that name."""
    if name == FOLDER and FOLDER not in item:
        return str(item.get("id", "")).rpartition("/")[0]
    return item.get(name)


def split(condition: str) -> tuple[str, str, str]:
    """The column, the sign (one of `= != > >= < <= ~`) and the value of a condition.

    Raises:
        DeixisError: it can't be read.
    """
    form = _FORM.fullmatch(condition)
    if form is None:
        raise DeixisError(f"The filter {condition!r} can't be read.", _CURE)
    name, sign, wanted = form.groups()
    return name, "=" if sign == "==" else sign, wanted


def _read(condition: str) -> tuple[str, Callable[[Any], bool]]:
    """The column of a condition, and its test; values that come again are not tested again."""
    name, sign, wanted = split(condition)
    test, answers = _test("=" if sign == "!=" else sign, wanted), dict[Any, bool]()

    def remembered(value: Any) -> bool:
        if not isinstance(value, str | int | float | None):
            return test(value) != (sign == "!=")
        key = (type(value), value)
        if key not in answers:
            answers[key] = test(value) != (sign == "!=")
        return answers[key]

    return name, remembered


def unknown(name: str, known: set[str]) -> DeixisError:
    """The error that no item has a column, with those that there are."""
    close = difflib.get_close_matches(name, sorted(known), n=3) or sorted(known)[:8]
    there = f"Did you mean {', '.join(close)}?" if close else "The items of this index have no columns at all."
    return DeixisError(f"No item has a column {name!r}.", there)


def _test(sign: str, wanted: str) -> Callable[[Any], bool]:
    """Whether a value meets a condition."""
    asked, text = number(wanted), wanted.casefold()

    def one(value: Any) -> bool:
        if value is None or isinstance(value, dict):
            return sign == "=" and not text
        if sign == "~":
            return text in folded(value)
        stored = number(value)
        if stored is not None and asked is not None:
            return stored == asked if sign == "=" else _ORDERS[sign](stored, asked)
        if sign == "=":
            return folded(value) == text
        # A number and a word have no order.
        return stored is None and asked is None and _ORDERS[sign](folded(value), text)

    return lambda value: any(map(one, value)) if isinstance(value, list) else one(value)


def folded(value: Any) -> str:
    """A value as the text that it is compared as."""
    return (value if isinstance(value, str) else json.dumps(value)).casefold()


def number(value: Any) -> float | None:
    """A value as a number, where it is one, be it stored as text."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None
