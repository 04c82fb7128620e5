"""Tables with a row for each box: an image, the phrase that names what is in the box, and its corners.

The corners stand in four columns (`x0 y0 x1 y1`, or `x y w h`), or in one, `bbox`, which is x, y, width and height as
COCO has it. They are pixels of the image as it is shown, or all of them from 0 to 1; where both occur, the rows of the
rarer kind are left out by name.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deixis.data.readers.columns import Columns, ColumnTable, choose, plain
from deixis.data.readers.lookup import Lookup
from deixis.data.readers.names import split_of
from deixis.data.readers.regions import BEYOND, Gathering
from deixis.data.readers.rows import cell
from deixis.errors import DeixisError
from deixis.inputs.images import shown_size
from deixis.types.samples import Picture, Skipped, Source

__all__ = ["from_boxes", "holds_boxes"]

_PHRASES = ("phrase", "phrases", "expression", "expressions")
_CATEGORIES = ("category", "label", "class")
_CORNERS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"))
_SIZED = (("x", "y", "w", "h"), ("x", "y", "width", "height"))
_NUMBER = re.compile(r"[^\s,;\[\]()]+")


class _Form(NamedTuple):
    """The columns of boxes, and whether the last two numbers are a size."""

    columns: tuple[str, ...]
    sized: bool


def holds_boxes(table: ColumnTable) -> bool:
    """Whether the columns of a table are those of boxes with phrases."""
    return _form(table.columns) is not None and _named(table.columns, _PHRASES) is not None


def from_boxes(table: ColumnTable) -> Source:
    """A sample for each image, with a region for each row; rows of one image with the same phrase are all named by it.

    What is in no column that is known here becomes attributes of the region.

    Raises:
        DeixisError: no column names the images.
    """
    gathering, lookup, sizes = Gathering(), Lookup(table.path), _Sizes()
    gathering.skipped += table.skipped
    gathering.notes += table.notes
    path, form = choose(dataclasses.replace(table, notes=[]), Columns()).path, _form(table.columns)
    assert form is not None
    words = {"phrase": _named(table.columns, _PHRASES), "category": _named(table.columns, _CATEGORIES)}
    used = {path, "split", *words.values(), *form.columns}
    numbers = [_numbers(row, form) for _, row in table.rows]
    shares = _mostly_shares([each for each in numbers if each is not None])
    for (line, row), values in zip(table.rows, numbers, strict=True):
        where = f"{table.unit} {line}"
        found = row[path] if isinstance(row.get(path), tuple) else lookup.find(row.get(path))
        if isinstance(found, Skipped):
            gathering.skipped.append(Skipped(found.path or where, found.reason, where))
            continue
        name, picture = found
        if values is not None and _is_share(values) != shares:
            unit = "pixels" if shares else "shares"
            detail = f"{where}: {' '.join(f'{each:g}' for each in values)} are {unit}"
            gathering.skipped.append(Skipped(name, "box is in another unit", detail))
            continue
        entry = {key: value for key, value in row.items() if key not in used}
        entry |= {key: text for key, column in words.items() if (text := cell(row, column)) is not None}
        size = None if shares else sizes.of(name, picture)
        if size is not None or shares:
            entry["box"] = _corners(values, form, size or (1, 1))
        else:
            entry["bbox"] = values
        draft = gathering.draft(name, picture, {}, split_of(cell(row, "split") or ""), own=False)
        gathering.regions(draft, [entry], {})
    gathering.notes += [*lookup.notes(), f"Boxes are read as {'shares of the image' if shares else 'pixels'}."]
    return gathering.source(table.root or table.path, table.name, f"{table.layout} of boxes")


class _Sizes:
    """Width and height of images as they are shown, from their headers."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[int, int] | None] = {}

    def of(self, name: str, picture: Picture) -> tuple[int, int] | None:
        """None where the image can't be read."""
        if name not in self._known:
            try:
                self._known[name] = shown_size(picture)
            except DeixisError:
                self._known[name] = None
        return self._known[name]


def _form(columns: Sequence[str]) -> _Form | None:
    """How the boxes stand in columns of these names; None where they don't."""
    named = {plain(column): column for column in reversed(columns)}
    for form, sized in (*((each, False) for each in _CORNERS), *((each, True) for each in _SIZED), (("bbox",), True)):
        if all(name in named for name in form):
            return _Form(tuple(named[name] for name in form), sized)
    return None


def _named(columns: Sequence[str], names: Sequence[str]) -> str | None:
    named = {plain(column): column for column in reversed(columns)}
    return next((named[name] for name in names if name in named), None)


def _numbers(row: Mapping[str, Any], form: _Form) -> list[float] | None:
    """The numbers of a row's box; None where they are not four."""
    cells: list[Any] = [row.get(column) for column in form.columns]
    if len(cells) == 1:
        cells = cells[0] if isinstance(cells[0], list) else _NUMBER.findall(str(cells[0]))
    try:
        values = [float(each) for each in cells]
    except (TypeError, ValueError):
        return None
    return values if len(values) == 4 and all(map(math.isfinite, values)) else None


def _is_share(values: Sequence[float]) -> bool:
    return max(map(abs, values)) <= BEYOND


def _mostly_shares(boxes: Sequence[Sequence[float]]) -> bool:
    return sum(map(_is_share, boxes)) * 2 > len(boxes)


def _corners(values: Sequence[float] | None, form: _Form, size: tuple[int, int]) -> list[float] | None:
    """x0 y0 x1 y1 from 0 to 1."""
    if values is None:
        return None
    x, y, right, bottom = values
    if form.sized:
        right, bottom = x + right, y + bottom
    return [x / size[0], y / size[1], right / size[0], bottom / size[1]]
