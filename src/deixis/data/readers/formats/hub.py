"""A `datasets.Dataset` of Hugging Face, or a dict of them: rows and features, with the images left where they are.

The package is never imported: whatever has its shape will do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deixis.data.readers.columns import Columns, ColumnTable, listed
from deixis.errors import DeixisError

__all__ = ["HubImage", "is_dataset", "read_dataset"]


@dataclasses.dataclass(frozen=True, eq=False)
class HubImage:
    """An image in a row of a dataset (`types.Stored`).

    Attributes:
        dataset: its rows give images as bytes and path.
        column: which column holds it.
        row: its number.
        title: of the dataset, for messages.
    """

    dataset: Any
    column: str
    row: int
    title: str

    @property
    def name(self) -> str:
        """The dataset, the column and the row."""
        return f"{self.title}/{self.column}, row {self.row}"

    def read(self) -> bytes:
        """The bytes of the file: those in the row, or those of the path in it."""
        cell = self.dataset[self.row][self.column] or {}
        data = cell.get("bytes")
        if data is None and cell.get("path"):
            return Path(cell["path"]).read_bytes()
        return data or b""


def is_dataset(value: Any) -> bool:
    """Whether a value has the shape of a dataset, or of a dict of datasets."""
    if isinstance(value, Mapping):
        return bool(value) and all(is_dataset(each) for each in value.values())
    return hasattr(value, "column_names") and hasattr(value, "features")


def read_dataset(data: Any, user_columns: Columns) -> ColumnTable:
    """The rows of a dataset; of a dict of them one after another, with its keys as splits.

    Args:
        data: a dataset or a dict of them.
        user_columns: the columns that the user named.

    Raises:
        DeixisError: the dataset is a stream, which has no rows to count.
    """
    parts = dict(data) if isinstance(data, Mapping) else {"": data}
    title = _title(next(iter(parts.values())))
    table = ColumnTable(Path.cwd() / title, "dataset", [], [], unit="row", root=Path(title))
    columns: dict[str, None] = {}
    for split, part in parts.items():
        if not hasattr(part, "__len__") or not hasattr(part, "__getitem__") or part.features is None:
            raise DeixisError(
                "The dataset is a stream: its rows come once, and can't be counted or shuffled.",
                "Load it whole (load_dataset without streaming=True), or write it as shards.",
            )
        _add(table, part, str(split), user_columns)
        columns.update(dict.fromkeys([*part.column_names, *(["split"] if split else [])]))
    table.columns = list(columns)
    return table


def _title(dataset: Any) -> str:
    info = getattr(dataset, "info", None)
    name = getattr(info, "dataset_name", None) or getattr(info, "builder_name", None)
    return str(name).replace("/", "_") if name else "dataset"


def _add(table: ColumnTable, dataset: Any, split: str, user_columns: Columns) -> None:
    if hasattr(dataset, "with_format"):
        dataset = dataset.with_format(None)  # as Python's own types, whatever it was set to
    images = [name for name in dataset.column_names if type(dataset.features.get(name)).__name__ == "Image"]
    picture = (
        user_columns.path
        if user_columns.path in images
        else images[0]
        if images and user_columns.path is None
        else None
    )
    if picture is not None:
        raw = dataset.select_columns([picture]).cast_column(picture, type(dataset.features[picture])(decode=False))
        table.pictures = picture
    if len(images) > 1 and user_columns.path is None:
        table.notes.append(f"Images are read from {picture!r}; path_column names another of {listed(images)}.")
    others = [name for name in dataset.column_names if name not in images]
    words = {name: _class_names(dataset.features.get(name)) for name in others}
    plainly = dataset.select_columns(others) if others else None
    start = len(table.rows)
    for index in range(len(dataset)):
        row = dict(plainly[index]) if plainly is not None else {}
        row.update({name: _class(row[name], named) for name, named in words.items() if named})
        if picture is not None:
            place = f"{split}/{index:06}" if split else f"{index:06}"
            row[picture] = (place, HubImage(raw, picture, index, table.name))
        if split:
            row.setdefault("split", split)
        table.rows.append((start + index + 1, row))


def _class_names(feature: Any) -> list[str]:
    names = getattr(feature, "names", None)
    return list(names) if isinstance(names, list | tuple) else []


def _class(value: Any, names: list[str]) -> Any:
    if type(value) is not int:
        return value
    return names[value] if 0 <= value < len(names) else None
