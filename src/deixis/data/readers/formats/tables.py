"""Tables as text: csv, tsv, and JSON, whole or one object a line."""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import decode, excerpt, full_path
from deixis.data.readers.cells import plain_text
from deixis.data.readers.columns import Columns, ColumnTable, captions_among
from deixis.errors import DeixisError
from deixis.types.samples import Skipped

__all__ = ["LINES", "TABLE_SUFFIXES", "delimiter", "read_json", "read_table", "table_of"]

TABLE_SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson"})
LINES = frozenset({".jsonl", ".ndjson"})

MAX_LINES = 100
"""Lines that one quoted csv field may run over; beyond, its closing quotation mark is taken to be missing."""

_FIELD_LIMIT = 2**26


def read_table(path: Path, user_columns: Columns) -> ColumnTable:
    """The rows of a csv, tsv or jsonl file.

    Args:
        path: the table.
        user_columns: the columns that the user named; they decide whether a csv's last cell may hold separators.

    Raises:
        DeixisError: there are no rows, or no csv could look so.
    """
    suffix = path.suffix.lower()
    text = decode(path.read_bytes())
    table = _read_lines(text, path) if suffix in LINES else _read_csv(text, path, user_columns)
    if not table.rows and not table.skipped:
        raise DeixisError(
            f"{excerpt(path.name)} holds no rows.", "Give one row for each image, such as: a.jpg,a red bird"
        )
    return table


def read_json(path: Path) -> Any:
    """What a json file holds; one with an object on each line comes as a `ColumnTable`.

    Raises:
        DeixisError: it is no JSON; the message says where it stops being it.
    """
    text = decode(path.read_bytes())
    try:
        return json.loads(text, parse_constant=lambda name: None)
    except RecursionError as error:
        raise DeixisError(f"{full_path(path)} is nested too deeply.", "Write plain lists and objects.") from error
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip()[:1] == "{":
            return _read_lines(text, path)
        raise DeixisError(
            f"{full_path(path)} is no valid JSON: line {error.lineno}, column {error.colno}: {error.msg}.",
            "Fix it there, or write it again; the file may be truncated.",
        ) from error


def table_of(records: Sequence[Any], path: Path) -> ColumnTable:
    """A table of JSON values: those that are no objects are left out."""
    return _of_objects(enumerate(records, 1), path, "record", [])


@contextlib.contextmanager
def _long_fields() -> Iterator[None]:
    before = csv.field_size_limit(_FIELD_LIMIT)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def delimiter(text: str, tabs: bool) -> str:
    """What stands between the cells of a table: the sign that cuts its first line into most."""
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


def _read_csv(text: str, path: Path, user_columns: Columns) -> ColumnTable:
    mark = delimiter(text, tabs=path.suffix.lower() == ".tsv")
    with _long_fields():
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        try:
            return _csv_rows(reader, mark, path, user_columns)
        except csv.Error as error:
            raise DeixisError(
                f"Line {reader.line_num} can't be read as a table: {error}.",
                "Check that every quotation mark is closed, or write one JSON object a line (.jsonl).",
            ) from error


def _csv_rows(reader: Any, mark: str, path: Path, user_columns: Columns) -> ColumnTable:
    """The rows of a csv reader. A row with too many cells is one with separators in its last cell, if that is the only
    caption; else it is left out. What was kept from being a formula is read as it was."""
    header: list[str] = next((row for row in reader if any(cell.strip() for cell in row)), [])
    table = ColumnTable(path, path.suffix.lower()[1:], _unique(header), [])
    last_is_caption = bool(table.columns) and captions_among(table.columns, user_columns, "", []) == (
        table.columns[-1],
    )
    start, joined = reader.line_num, 0
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
            joined += 1
        table.rows.append((line, dict(zip(table.columns, map(plain_text, cells), strict=False))))
    if joined:
        table.notes.append(f"Unquoted separators in {joined} captions were taken as part of the caption.")
    return table


def _read_lines(text: str, path: Path) -> ColumnTable:
    skipped: list[Skipped] = []
    return _of_objects(_parsed(text, skipped), path, "line", skipped)


def _parsed(text: str, skipped: list[Skipped]) -> Iterator[tuple[int, Any]]:
    for line, content in enumerate(text.split("\n"), 1):
        if not content.strip():
            continue
        try:
            yield line, json.loads(content, parse_constant=lambda name: None)
        except (ValueError, RecursionError) as error:
            skipped.append(Skipped(f"line {line}", "not valid JSON", excerpt(str(error))))


def _of_objects(values: Iterable[tuple[int, Any]], path: Path, unit: str, skipped: list[Skipped]) -> ColumnTable:
    columns: dict[str, None] = {}
    table = ColumnTable(path, path.suffix.lower()[1:] or "json", [], [], skipped, unit)
    for place, row in values:
        if isinstance(row, dict):
            columns.update(dict.fromkeys(row))
            table.rows.append((place, row))
        else:
            skipped.append(Skipped(f"{unit} {place}", "not a JSON object", type(row).__name__))
    table.columns = list(columns)
    return table
