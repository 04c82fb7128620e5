"""Parquet files: tables whose columns have types, and whose cells may hold whole images."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import decode, excerpt, full_path, is_text
from deixis.data.readers.columns import Columns, ColumnTable, captions_among, listed, plain
from deixis.data.readers.names import split_of_file
from deixis.errors import DeixisError, require
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Skipped

__all__ = ["NOT_DOWNLOADED", "ParquetImage", "read_parquet"]

NOT_DOWNLOADED = "was not downloaded"

LARGE_GROUP = 2000
"""Images in a row group beyond which reading one of them is slow: the group is read as a whole."""

_BYTES_NAMES = frozenset("image img picture photo image_bytes img_bytes bytes jpg jpeg png webp".split())


@dataclasses.dataclass(frozen=True)
class ParquetImage:
    """An image whose bytes lie in a cell of a parquet file (`types.Stored`).

    Attributes:
        file: the parquet file.
        column: its column; of a struct, `bytes` inside it.
        group: its row group.
        row: where in the group.
    """

    file: Path
    column: str
    group: int
    row: int

    @property
    def name(self) -> str:
        """The file, the column, and the place of the row."""
        return f"{self.file}/{self.column}, row {self.row} of group {self.group}"

    def read(self) -> bytes:
        """The bytes of the file in it; the row group last read is cached."""
        cell = _cells(self.file, self.column, self.group)[self.row].as_py()
        value = cell.get("bytes") if isinstance(cell, dict) else cell
        return value if isinstance(value, bytes) else b""


@functools.lru_cache(maxsize=2)
def _cells(file: Path, column: str, group: int) -> Any:
    return _open(file).read_row_group(group, columns=[column]).column(0)


def _open(path: Path) -> Any:
    return require("pyarrow.parquet", "data", "read parquet files").ParquetFile(path)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, NotImplementedError) as error:  # Arrow's own errors are among these
        raise DeixisError(
            f"{full_path(path)} can't be read as parquet: {excerpt(str(error), 200)}", "Copy or download it again."
        ) from error


def read_parquet(paths: Sequence[Path], user_columns: Columns) -> ColumnTable:
    """The rows of parquet files, one after another.

    Images may be named by a column, or lie in one: bytes, or the struct of bytes and path that `datasets` writes. They
    stay in the file until they are wanted. The table that img2dataset writes is recognised: its images are found by
    their keys, and what it did not download is left out.

    Args:
        paths: the files; the name of one such as `train-00000-of-00002.parquet` gives the split.
        user_columns: the columns that the user named.

    Raises:
        DeixisError: pyarrow is missing, or a file is cut short or no parquet.
    """
    tables = []
    for path in paths:
        with _explained(path):
            tables.append(_File(path, _open(path), user_columns, named=len(paths) > 1).table())
    if len(tables) == 1:
        return tables[0]
    first = tables[0]
    columns = list(dict.fromkeys(column for table in tables for column in table.columns))
    rows = [row for table in tables for _, row in table.rows]
    notes = list(dict.fromkeys(note for table in tables for note in table.notes))
    return dataclasses.replace(
        first,
        layout=f"{len(paths)} parquet files",
        columns=columns,
        rows=list(enumerate(rows, 1)),
        skipped=[item for table in tables for item in table.skipped],
        notes=notes,
    )


class _File:
    """One parquet file."""

    def __init__(self, path: Path, file: Any, user_columns: Columns, named: bool) -> None:
        self.path, self.file, self.user_columns, self.named = path, file, user_columns, named
        self.schema = file.schema_arrow
        self.notes: list[str] = []
        self.picture = self._picture_column()
        self.classes = _class_names(self.schema)

    def table(self) -> ColumnTable:
        """Its rows."""
        columns = self._columns()
        table = ColumnTable(self.path, "parquet", columns, [], [], "row", self.picture, self.notes)
        for number, row in enumerate(self._rows(columns), 1):
            table.rows.append((number, row))
        if not table.rows:
            raise DeixisError(f"{full_path(self.path)} holds no rows.", "Give one row for each image.")
        if {"key", "status", "url"} <= set(columns) and self.user_columns.path is None and self.picture is None:
            self._downloaded(table)
        split = split_of_file(self.path.stem)
        if split and "split" not in columns:
            table.columns.append("split")
            for _, row in table.rows:
                row["split"] = split
        return table

    def _picture_column(self) -> str | None:
        """The column with images in it: the one given, or the first; None where files are named."""
        holding = [field.name for field in self.schema if _holds_images(field, self.user_columns.path)]
        if self.user_columns.path is not None:
            return self.user_columns.path if self.user_columns.path in holding else None
        if len(holding) > 1:
            self.notes.append(f"Images are read from {holding[0]!r}; --path-column names another of {listed(holding)}.")
        return holding[0] if holding else None

    def _columns(self) -> list[str]:
        """The columns that are retained: not bytes, unless they are words or the image."""
        words = {
            *captions_among(self.schema.names, self.user_columns, self.path.name, []),
            self.user_columns.label,
            self.user_columns.path,
        }
        left = [f.name for f in self.schema if _is_bytes(f.type) or _holds_images(f, None)]
        left = [name for name in left if name != self.picture and name not in words]
        if left:
            self.notes.append(f"Columns of bytes were left out: {listed(left)}.")
        return [name for name in self.schema.names if name not in left]

    def _rows(self, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        plainly = [name for name in columns if name != self.picture]
        prefix, number = f"{self.path.stem}/" if self.named else "", 0
        keys_used: set[str] = set()
        for group in range(self.file.num_row_groups):
            size = self.file.metadata.row_group(group).num_rows
            names = self._names(group, size)
            for index, row in enumerate(self._group(group, plainly, size)):
                number += 1
                if self.picture is not None and self._is_outside(group, size):
                    row[self.picture] = names[index]
                elif self.picture is not None:
                    own = os.path.basename(names[index] or "") or f"{number:06}"
                    own = own if own not in keys_used else f"{number:06}"
                    keys_used.add(own)
                    row[self.picture] = (f"{prefix}{own}", ParquetImage(self.path, self.picture, group, index))
                yield row
        if self.picture is not None and self.file.num_row_groups:
            largest = max(self.file.metadata.row_group(g).num_rows for g in range(self.file.num_row_groups))
            if largest > LARGE_GROUP:
                self.notes.append(
                    f"{largest} images are in one row group, which is read completely for each; `deixis pack` writes "
                    "them as shards."
                )

    def _names(self, group: int, size: int) -> list[str | None]:
        """The paths beside the bytes of a row group's images."""
        if self.picture is None or "path" not in _inside(self.schema.field(self.picture).type):
            return [None] * size
        cells = self.file.read_row_group(group, columns=[f"{self.picture}.path"]).column(0).to_pylist()
        paths = [cell.get("path") if isinstance(cell, dict) else None for cell in cells]
        return [path if isinstance(path, str) and is_text(path) else None for path in paths]

    def _is_outside(self, group: int, size: int) -> bool:
        """Whether a row group holds paths of images only, and no bytes."""
        found = self.file.metadata.row_group(group)
        for index in range(found.num_columns):
            if found.column(index).path_in_schema == f"{self.picture}.bytes":
                statistics = found.column(index).statistics
                return statistics is not None and statistics.null_count == size
        return False

    def _group(self, group: int, columns: Sequence[str], size: int) -> Iterator[dict[str, Any]]:
        if not columns:
            yield from ({} for _ in range(size))
            return
        for batch in self.file.iter_batches(row_groups=[group], columns=list(columns)):
            for row in batch.to_pylist():
                yield {name: self._value(name, value) for name, value in row.items()}

    def _value(self, name: str, value: Any) -> Any:
        if isinstance(value, bytes):
            return decode(value)
        if isinstance(value, float) and value != value:
            return None  # pandas writes so what is missing
        names = self.classes.get(name)
        if names is not None and type(value) is int:
            return names[value] if 0 <= value < len(names) else None
        return value

    def _downloaded(self, table: ColumnTable) -> None:
        """Leaves in the table of img2dataset what it downloaded, each row with the path of its file."""
        folder = self.path.with_suffix("")
        tar = self.path.with_suffix(".tar")
        if not folder.is_dir() and tar.is_file():
            raise DeixisError(
                f"{full_path(self.path)} is img2dataset's list of the content of {excerpt(tar.name)}.",
                f"Give the shard, which holds the captions as well: {full_path(tar)}",
            )
        names = sorted(os.listdir(folder), reverse=True) if folder.is_dir() else []
        files = {os.path.splitext(name)[0]: name for name in names if _pictured(name)}
        rows_used = []
        for number, row in table.rows:
            if row.get("status") != "success":
                why = row.get("error_message") or row.get("status") or ""
                table.skipped.append(Skipped(excerpt(str(row.get("url")), 200), NOT_DOWNLOADED, excerpt(str(why), 200)))
                continue
            key = str(row.get("key"))
            rows_used.append((number, {**row, "key": f"{folder.name}/{files.get(key, key)}"}))
        table.rows = rows_used


def _pictured(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _is_bytes(kind: Any) -> bool:
    return str(kind) in {"binary", "large_binary", "binary_view"} or str(kind).startswith("fixed_size_binary")


def _holds_images(field: Any, user_columns: str | None) -> bool:
    """Whether a column holds images: a struct with bytes inside, or bytes under a usual name or the one given."""
    if _is_bytes(field.type):
        return plain(field.name) in _BYTES_NAMES or field.name == user_columns
    inside = _inside(field.type)
    return "bytes" in inside and _is_bytes(inside["bytes"])


def _inside(kind: Any) -> dict[str, Any]:
    """The fields of a struct; none of any other type."""
    if not str(kind).startswith("struct<"):
        return {}
    return {kind.field(index).name: kind.field(index).type for index in range(kind.num_fields)}


def _class_names(schema: Any) -> dict[str, list[str]]:
    """The names of classes by column, which `datasets` writes into the metadata where labels are numbers."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        named = {name: each.get("names") for name, each in features.items() if each.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: names for name, names in named.items() if isinstance(names, list) and all(map(_word, names))}


def _word(value: Any) -> bool:
    return isinstance(value, str)
