"""Where in its pictures a concept is: boxes of a csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deixis.errors import DeixisError
from deixis.inputs.images import shown_size

__all__ = ["PixelBox", "read_boxes"]

_PATHS = ("path", "picture", "image", "file")
_SIDES = ("x0", "y0", "x1", "y1")


class PixelBox(NamedTuple):
    """A box in pixels of a picture as it is shown."""

    x0: float
    y0: float
    x1: float
    y1: float

    def overlaps(self, other: PixelBox) -> bool:
        """Whether two have some area in common."""
        wide = min(self.x1, other.x1) - max(self.x0, other.x0)
        high = min(self.y1, other.y1) - max(self.y0, other.y0)
        return wide > 0 and high > 0


def read_boxes(table: str | Path, pictures: Sequence[Path]) -> dict[Path, PixelBox]:
    """The box of each picture that has one.

    Args:
        table: a csv with a column of paths (as given, from the table's folder, or names alone) and x0, y0, x1, y1.
        pictures: that are taught.

    Raises:
        DeixisError: the table can't be read, a box is of no picture, has no area or lies outside, or two boxes of one
            picture have nothing in common.
    """
    places = {str(each.resolve()): each for each in pictures}
    names = {each.name: each for each in pictures}
    found: dict[Path, PixelBox] = {}
    for line, row in enumerate(_rows(Path(table)), 2):
        given = next((row[column] for column in _PATHS if row.get(column)), "")
        near = [str(Path(given).resolve()), str((Path(table).parent / given).resolve())]
        picture = next((places[each] for each in near if each in places), names.get(Path(given).name))
        if picture is None:
            raise DeixisError(
                f"Line {line} of {table} has a box of {given!r}, which is none of the pictures.",
                "Give the picture, too, or take the line out.",
            )
        box = _box(row, f"Line {line} of {table}", picture)
        other = found.setdefault(picture, box)
        if not box.overlaps(other):
            raise DeixisError(
                f"{table} has two boxes of {picture} that contradict each other: they have nothing in common.",
                "A concept is one thing in a picture: keep one of the boxes.",
            )
    return found


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, columns = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DeixisError(f"{table} can't be read: {error}.", "Give a csv file in UTF-8.") from error
    missing = [side for side in _SIDES if side not in columns]
    if missing or not set(_PATHS) & set(columns):
        raise DeixisError(
            f"{table} has the columns {', '.join(columns) or 'none'}.",
            f"It needs path, {', '.join(_SIDES)}, in pixels.",
        )
    return rows


def _box(row: dict[str, str], where: str, picture: Path) -> PixelBox:
    try:
        box = PixelBox(*(float(row[side]) for side in _SIDES))
    except (TypeError, ValueError) as error:
        raise DeixisError(f"{where}: a side of the box is no number.", "Give x0, y0, x1, y1 in pixels.") from error
    wide, high = shown_size(picture)
    if not all(map(math.isfinite, box)) or box.x1 <= box.x0 or box.y1 <= box.y0:
        raise DeixisError(f"{where}: the box {tuple(box)} has no area.", "Let x0 be below x1, and y0 below y1.")
    if box.x0 < 0 or box.y0 < 0 or box.x1 > wide or box.y1 > high:
        raise DeixisError(
            f"{where}: the box {tuple(box)} reaches beyond {picture}, which has {wide} x {high} pixels.",
            "Give pixels of the picture as it is shown, from its upper left corner.",
        )
    return box
