"""Tables of images: csv, tsv, and one JSON object a line."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import difflib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.data.captions import NOT_UTF8, Tally, decode, is_text, shown, texts_in
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Sample, Skipped, Source

__all__ = ["TABLE_SUFFIXES", "Columns", "read_table"]

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})

MAX_LINES = 100
"""Lines that one quoted csv field may run over; beyond, its closing quotation mark is taken to be missing."""

_FIELD_LIMIT = 2**26

_NAMES = {
    "path": "path file filepath file_path file_name filename image image_path image_file image_name img img_path photo "
    "picture key".split(),
    "caption": "caption captions text texts sentence sentences description title alt alt_text txt".split(),
    "label": "label class category class_name label_name category_name labels target".split(),
    "group": ["group", "group_id", "concept", "concept_id"],
}
_FLAGS = {
    "path": "--path-column",
    "caption": "--caption-column",
    "label": "--label-column",
    "group": "--group",
}
_URL_NAMES = frozenset({"url", "image_url", "img_url", "link", "uri"})
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://|data:|www\.")


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which column holds what, as told by the user; None is found by name. Several caption columns: with commas."""

    path: str | None = None
    caption: str | None = None
    label: str | None = None
    group: str | None = None


@dataclasses.dataclass(frozen=True)
class _Chosen:
    path: str
    captions: tuple[str, ...]
    label: str | None
    group: str | None

    @property
    def all(self) -> frozenset[str | None]:
        return frozenset({self.path, *self.captions, self.label, self.group})


@dataclasses.dataclass
class _Table:
    """Rows as read: where each stands, and its cells by column."""

    columns: list[str]
    rows: list[tuple[int, dict[str, Any]]]
    skipped: list[Skipped]
    joined: int = 0


@dataclasses.dataclass
class _Draft:
    path: Path
    captions: list[str]
    label: str | None
    groups: tuple[str, ...]
    extra: Mapping[str, Any]


def read_table(path: Path, told: Columns) -> Source:
    """Reads a csv, tsv or jsonl file with a row for each image, or several: rows of one image are put together.

    Paths are relative to the table's folder. What is in no chosen column is kept in `extra`.

    Args:
        path: the table.
        told: the columns that the user named.

    Raises:
        DeixisError: no header, no path column, or a column that isn't there; the message lists the columns seen.
    """
    jsonl = path.suffix.lower() in {".jsonl", ".ndjson"}
    text = decode(path.read_bytes())
    table = _read_jsonl(text) if jsonl else _read_csv(text, tabs=path.suffix.lower() == ".tsv", told=told)
    if not table.rows and not table.skipped:
        raise DeixisError(
            f"{shown(path.name)} holds no rows.", "Give one row for each image, such as: a.jpg,a red bird"
        )
    notes: list[str] = []
    chosen = _choose(table.columns, told, path.name, notes)
    tally = Tally()
    samples, skipped = _samples(table, chosen, path.parent, tally)
    if table.joined:
        notes.append(f"Unquoted separators in {table.joined} captions were taken as part of the caption.")
    empty = [name for name in chosen.captions if not any(texts_in(row.get(name)) for _, row in table.rows)]
    if empty:
        notes.append(f"The caption column {', '.join(map(repr, empty))} is empty in every row.")
    kind = "captions" if any(s.captions for s in samples) else "labels" if any(s.label for s in samples) else "images"
    layout = path.suffix.lower()[1:]
    notes += tally.notes()
    return Source(path.stem, path, kind, layout, tuple(samples), (*table.skipped, *skipped), tuple(notes))


# Reading rows


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _delimiter(text: str, tabs: bool) -> str:
    header = next((line for line in text.splitlines() if line.strip()), "")
    candidates = ["\t", ",", ";"] if tabs else [",", ";", "\t"]
    return max(candidates, key=lambda mark: len(next(csv.reader([header], delimiter=mark), [])))


def _unique(names: Sequence[str]) -> list[str]:
    columns: list[str] = []
    for position, name in enumerate(names, 1):
        name = name.replace("\0", "").strip() or f"column_{position}"
        number, free = 2, name
        while free in columns:
            number, free = number + 1, f"{name}_{number}"
        columns.append(free)
    return columns


def _read_csv(text: str, tabs: bool, told: Columns) -> _Table:
    mark = _delimiter(text, tabs)
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        try:
            return _csv_rows(reader, mark, told)
        except csv.Error as error:
            raise DeixisError(
                f"Line {reader.line_num} can't be read as a table: {error}.",
                "Check that every quotation mark is closed, or write one JSON object a line (.jsonl).",
            ) from error


def _csv_rows(reader: Any, mark: str, told: Columns) -> _Table:
    """The rows of a csv reader. A row with too many cells is one with separators in its last cell, if that is the only
    caption; else it is left out."""
    header: list[str] = next((row for row in reader if any(cell.strip() for cell in row)), [])
    table = _Table(_unique(header), [], [])
    last_is_caption = bool(table.columns) and _captions(table.columns, told, "", []) == (table.columns[-1],)
    start = reader.line_num
    for cells in reader:
        line, start = start + 1, reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if start - line >= MAX_LINES:
            table.skipped.append(Skipped(f"line {line}", "quotation mark not closed", f"lines {line} to {start}"))
            continue
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            if not last_is_caption:
                table.skipped.append(Skipped(f"line {line}", "more cells than columns", f"{len(cells)}"))
                continue
            cells = [*cells[: len(header) - 1], mark.join(cells[len(header) - 1 :])]
            table.joined += 1
        table.rows.append((line, dict(zip(table.columns, cells, strict=False))))
    return table


def _read_jsonl(text: str) -> _Table:
    columns: dict[str, None] = {}
    table = _Table([], [], [])
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content, parse_constant=lambda name: None)
        except (ValueError, RecursionError) as error:
            table.skipped.append(Skipped(f"line {line}", "not valid JSON", shown(str(error))))
            continue
        if not isinstance(row, dict):
            table.skipped.append(Skipped(f"line {line}", "not a JSON object", type(row).__name__))
            continue
        columns.update(dict.fromkeys(row))
        table.rows.append((line, row))
    table.columns = list(columns)
    return table


# Choosing columns


def _plain(name: str) -> str:
    return re.sub(r"[\s\-.]+", "_", name.strip().casefold())


def _told(columns: Sequence[str], name: str, role: str, where: str) -> str:
    for same in (lambda column: column == name, lambda column: _plain(column) == _plain(name)):
        found = next(filter(same, columns), None)
        if found is not None:
            return found
    near = difflib.get_close_matches(name, columns, n=3)
    hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Give {_FLAGS[role]} one of them."
    raise DeixisError(f"{shown(where)} has no column {name!r}; its columns are {_listed(columns)}.", hint)


def _listed(columns: Sequence[str]) -> str:
    names = ", ".join(repr(shown(column, 40)) for column in columns[:20])
    return f"{names}, ..." if len(columns) > 20 else names or "none"


def _found(columns: Sequence[str], role: str) -> str | None:
    plain = {_plain(column): column for column in reversed(columns)}
    return next((plain[name] for name in _NAMES[role] if name in plain), None)


def _captions(columns: Sequence[str], told: Columns, where: str, notes: list[str]) -> tuple[str, ...]:
    """The caption columns: those told; else the first known name and its numbered siblings (`caption`, `caption_2`)."""
    if told.caption is not None:
        whole = told.caption in columns
        names = [told.caption] if whole else [name.strip() for name in told.caption.split(",") if name.strip()]
        if not names:
            raise DeixisError("--caption-column names no column.", f"The columns are {_listed(columns)}.")
        return tuple(dict.fromkeys(_told(columns, name, "caption", where) for name in names))
    base = re.compile(rf"({'|'.join(_NAMES['caption'])})_?\d*")
    stems = {column: match.group(1) for column in columns if (match := base.fullmatch(_plain(column)))}
    first = next((name for name in _NAMES["caption"] if name in stems.values()), None)
    used = tuple(column for column, stem in stems.items() if stem == first)
    unused = [column for column in stems if column not in used]
    if unused:
        both = ",".join([*used, *unused])
        notes.append(
            f"Captions are read from {_listed(used)}; --caption-column {both} would use {_listed(unused)} too."
        )
    return used


def _choose(columns: Sequence[str], told: Columns, where: str, notes: list[str]) -> _Chosen:
    path = _told(columns, told.path, "path", where) if told.path is not None else _found(columns, "path")
    if path is None:
        raise _without_path(columns, where)
    captions = tuple(name for name in _captions(columns, told, where, notes) if name != path)
    label = _told(columns, told.label, "label", where) if told.label is not None else _found(columns, "label")
    group = _told(columns, told.group, "group", where) if told.group is not None else _found(columns, "group")
    if group is not None and told.group is None:
        notes.append(f"Rows with the same {group!r} are kept on one side of a split.")
    if not captions and label is None and len(columns) > 1:
        notes.append(
            f"No caption or label column was recognised among {_listed(columns)}; "
            f"name one with {_FLAGS['caption']} or {_FLAGS['label']}."
        )
    return _Chosen(path, captions, label, group)


def _without_path(columns: Sequence[str], where: str) -> DeixisError:
    found = f"{shown(where)} has no column that names the image files; its columns are {_listed(columns)}."
    if any(os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES for name in columns):
        return DeixisError(found, "The first row looks like data: put a header above it, such as: path,caption")
    if any(_plain(name) in _URL_NAMES for name in columns):
        return DeixisError(
            found, "Addresses aren't fetched: download the images first, then name the files in a column."
        )
    return DeixisError(
        found, "Name it with --path-column (and the others with --caption-column, --label-column, --group)."
    )


# From rows to samples


def _locate(value: Any, folder: Path) -> tuple[str, Path] | Skipped:
    """The id and path of the image that a cell names, or why there is none."""
    if value is None or value == "":
        return Skipped("", "path is empty")
    if not isinstance(value, str):
        return Skipped(shown(str(value)), "path is not text")
    text = value.strip()
    if not text:
        return Skipped("", "path is empty")
    if _URL.match(text):
        return Skipped(shown(text, 200), "is a URL")
    if not is_text(text):
        return Skipped(shown(text), "name is not UTF-8")
    for name in dict.fromkeys((text, value, text.replace("\\", "/"))):
        full = Path(os.path.normpath(folder / name))
        try:
            if full.is_file():
                inside = not os.path.isabs(name) or full.is_relative_to(folder)
                return (Path(os.path.relpath(full, folder)) if inside else full).as_posix(), full
            if full.exists():
                return Skipped(shown(text, 200), "is not a file")
        except (OSError, ValueError):
            break
    return Skipped(shown(text, 200), "file not found")


def _cell(row: Mapping[str, Any], column: str | None) -> str | None:
    value = row.get(column) if column is not None else None
    if value is None or isinstance(value, (list, dict)):
        return None
    text = " ".join("".join(c for c in str(value) if c != "\0").split())
    return text if text and is_text(text) else None


def _samples(table: _Table, chosen: _Chosen, folder: Path, tally: Tally) -> tuple[list[Sample], list[Skipped]]:
    drafts: dict[str, _Draft] = {}
    skipped: list[Skipped] = []
    for line, row in table.rows:
        found = _locate(row.get(chosen.path), folder)
        if isinstance(found, Skipped):
            skipped.append(dataclasses.replace(found, path=found.path or f"line {line}", detail=f"line {line}"))
            continue
        name, path = found
        label, group = _cell(row, chosen.label), _cell(row, chosen.group)
        groups = (f"group:{group}",) if group is not None else ()
        if name not in drafts:
            extra = {key: value for key, value in row.items() if key not in chosen.all}
            drafts[name] = _Draft(path, [], label, groups, extra)
        draft = drafts[name]
        if label is not None and draft.label not in (None, label):
            skipped.append(Skipped(name, "second label of an image", f"line {line}: {shown(label)}"))
            continue
        draft.label, draft.groups = draft.label or label, tuple(dict.fromkeys((*draft.groups, *groups)))
        texts = [text for column in chosen.captions for text in texts_in(row.get(column))]
        good = [text for text in texts if is_text(text)]
        if len(good) < len(texts):
            skipped.append(Skipped(name, NOT_UTF8, f"line {line}"))
        draft.captions += good
    return [
        Sample(name, draft.path, tally.clean(draft.captions), draft.label, draft.groups, draft.extra)
        for name, draft in drafts.items()
    ], skipped
