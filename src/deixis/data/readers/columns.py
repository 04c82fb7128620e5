"""Which column of a table holds what: named by the user, or found by its usual name."""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import excerpt
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Skipped

__all__ = ["Chosen", "ColumnTable", "Columns", "captions_among", "choose", "listed", "path_column", "plain"]

_NAMES = {
    "path": "path file filepath file_path file_name filename image image_path image_file image_name img img_path photo "
    "picture key".split(),
    "caption": "caption captions text texts sentence sentences description title alt alt_text txt".split(),
    "label": "label class category class_name label_name category_name labels target".split(),
    "group": ["group", "group_id", "concept", "concept_id"],
    "split": ["split", "subset", "partition"],
}
_FLAGS = {
    "path": "--path-column",
    "caption": "--caption-column",
    "label": "--label-column",
    "group": "--group",
}
_URL_NAMES = frozenset({"url", "image_url", "img_url", "link", "uri"})


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which column holds what, as named by the user; None is found by name. Several caption columns: with commas."""

    path: str | None = None
    caption: str | None = None
    label: str | None = None
    group: str | None = None


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Which column holds what."""

    path: str
    captions: tuple[str, ...]
    label: str | None
    group: str | None
    split: str | None

    @property
    def all(self) -> frozenset[str | None]:
        """Those that are not in `extra`. The split is: it may have been more than train, val or test."""
        return frozenset({self.path, *self.captions, self.label, self.group})


@dataclasses.dataclass
class ColumnTable:
    """Rows as read, whatever they were written in.

    Attributes:
        path: what they were read from; image files are looked for from there.
        layout: what that is, in words.
        columns: their names, in order.
        rows: where each stands (a line, or a number from 1), and its cells by column.
        skipped: what gave no row.
        unit: what the place of a row is called.
        pictures: the column whose cells are images that were found already, each a pair of its id and the picture.
        notes: remarks for the user.
        root: what the user gave, where that is more than `path`.
    """

    path: Path
    layout: str
    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]
    skipped: list[Skipped] = dataclasses.field(default_factory=list)
    unit: str = "line"
    pictures: str | None = None
    notes: list[str] = dataclasses.field(default_factory=list)
    root: Path | None = None

    @property
    def name(self) -> str:
        """For titles."""
        return self.path.stem if self.root is None else self.root.name


def plain(name: str) -> str:
    """A column's name as it is compared: `File Name` is `file_name`."""
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold())


def _chosen(columns: Sequence[str], name: str, role: str, where: str) -> str:
    for same in (lambda column: column == name, lambda column: plain(column) == plain(name)):
        found = next(filter(same, columns), None)
        if found is not None:
            return found
    near = difflib.get_close_matches(name, columns, n=3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Give {_FLAGS[role]} one of them."
    raise DeixisError(f"{excerpt(where)} has no column {name!r}; its columns are {listed(columns)}.", hint)


def listed(columns: Sequence[str]) -> str:
    """Column names as they stand in a message."""
    names = ", ".join(repr(excerpt(column, 40)) for column in columns[:20])
    return f"{names}, ..." if len(columns) > 20 else names or "none"


def _found(columns: Sequence[str], role: str) -> str | None:
    named = {plain(column): column for column in reversed(columns)}
    return next((named[name] for name in _NAMES[role] if name in named), None)


def captions_among(columns: Sequence[str], user_columns: Columns, where: str, notes: list[str]) -> tuple[str, ...]:
    """The caption columns: those given; else the usual name and its numbered siblings (`caption`, `caption_2`)."""
    if user_columns.caption is not None:
        whole = user_columns.caption in columns
        names = (
            [user_columns.caption]
            if whole
            else [name.strip() for name in user_columns.caption.split(",") if name.strip()]
        )
        if not names:
            raise DeixisError("--caption-column names no column.", f"The columns are {listed(columns)}.")
        return tuple(dict.fromkeys(_chosen(columns, name, "caption", where) for name in names))
    base = re.compile(rf"({'|'.join(_NAMES['caption'])})_?\d*")
    stems = {column: match.group(1) for column in columns if (match := base.fullmatch(plain(column)))}
    first = next((name for name in _NAMES["caption"] if name in stems.values()), None)
    used = tuple(column for column, stem in stems.items() if stem == first)
    unused = [column for column in stems if column not in used]
    if unused:
        both = ",".join([*used, *unused])
        notes.append(f"Captions are read from {listed(used)}; --caption-column {both} would use {listed(unused)} too.")
    return used


def path_column(table: ColumnTable, user_columns: Columns) -> str | None:
    """The column that names image files: the one given, or one of a usual name; None where there is none."""
    given = _one(table.columns, user_columns.path, "path", table.path.name)
    return given or table.pictures or _found(table.columns, "path")


def choose(table: ColumnTable, user_columns: Columns) -> Chosen:
    """The columns of a table by what they hold; remarks about the choice go into the table's notes.

    Raises:
        DeixisError: no column names the images, or one that was given isn't there; the message lists those that are.
    """
    columns, where, notes = table.columns, table.path.name, table.notes
    path = path_column(table, user_columns)
    if path is None:
        raise _without_path(columns, where)
    captions = tuple(name for name in captions_among(columns, user_columns, where, notes) if name != path)
    label, group = _one(columns, user_columns.label, "label", where), _one(columns, user_columns.group, "group", where)
    label = label or _found(columns, "label")
    if group is None and (group := _found(columns, "group")) is not None:
        notes.append(f"Rows with the same {group!r} stay in the same split.")
    if not captions and label is None and len(columns) > 1:
        notes.append(
            f"No caption or label column was recognised among {listed(columns)}; "
            f"name one with {_FLAGS['caption']} or {_FLAGS['label']}."
        )
    return Chosen(path, captions, label, group, _found(columns, "split"))


def _one(columns: Sequence[str], name: str | None, role: str, where: str) -> str | None:
    return None if name is None else _chosen(columns, name, role, where)


def _without_path(columns: Sequence[str], where: str) -> DeixisError:
    found = f"{excerpt(where)} has no column that names the image files; its columns are {listed(columns)}."
    if any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in columns):
        return DeixisError(found, "The first row looks like data: put a header above it, such as: path,caption")
    if any(plain(name) in _URL_NAMES for name in columns):
        return DeixisError(
            found, "URLs are not downloaded: download the images first, then name the files in a column."
        )
    return DeixisError(
        found, "Name it with --path-column (and the others with --caption-column, --label-column, --group)."
    )
