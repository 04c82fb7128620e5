"""Tables of texts without pictures, for methods that learn from words alone."""

from __future__ import annotations

from pathlib import Path

from deixis.data.readers.captions import texts_in
from deixis.data.readers.columns import Columns, captions_among, path_column
from deixis.data.readers.formats.tables import TABLE_SUFFIXES, read_table
from deixis.errors import DeixisError
from deixis.types.samples import Sample, Skipped, Source

__all__ = ["read_texts"]


def read_texts(path: Path, user_columns: Columns) -> Source | None:
    """The texts of a table, one sample a row; None where it is no table of text, or a column names image files.

    Args:
        path: a csv, tsv or jsonl file.
        user_columns: the columns that the user named.

    Raises:
        DeixisError: no column holds texts, or none of its cells does.
    """
    if path.suffix.lower() not in TABLE_SUFFIXES or not path.is_file():
        return None
    table = read_table(path, user_columns)
    if path_column(table, user_columns) is not None:
        return None
    notes: list[str] = []
    columns = captions_among(table.columns, user_columns, path.name, notes)
    said = [
        (line, row, tuple(text for column in columns for text in texts_in(row.get(column)))) for line, row in table.rows
    ]
    samples = tuple(
        Sample(f"{table.unit} {line}", None, texts, extra={k: v for k, v in row.items() if k not in columns})
        for line, row, texts in said
        if texts
    )
    if not samples:
        raise DeixisError(
            f"{path.name} has neither a column that names image files nor one of texts.",
            "Name the column of the texts: --caption-column NAME",
        )
    empty = [Skipped(f"{table.unit} {line}", "no text") for line, _, texts in said if not texts]
    return Source(path.stem, path, "text", table.layout, samples, (*table.skipped, *empty), tuple(notes))
