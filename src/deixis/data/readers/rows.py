"""From the rows of a table to samples: rows of one image are put together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from deixis.data.readers.captions import NOT_UTF8, Tally, excerpt, is_text, texts_in
from deixis.data.readers.columns import Chosen, Columns, ColumnTable, choose
from deixis.data.readers.lookup import Lookup
from deixis.data.readers.names import split_of
from deixis.types.samples import Picture, Sample, Skipped, Source

__all__ = ["NOT_TEXT", "cell", "from_rows", "kind_of"]

NOT_TEXT = "caption is not text"


@dataclasses.dataclass
class _Draft:
    image: Picture
    captions: list[str]
    label: str | None
    groups: tuple[str, ...]
    split: str
    extra: Mapping[str, Any]


def kind_of(samples: Iterable[Sample]) -> str:
    """The kind of a `Source` with these samples."""
    kinds = {"captions" if s.captions else "labels" if s.label else "images" for s in samples if s.image is not None}
    return next((kind for kind in ("captions", "labels", "images") if kind in kinds), "text")


def from_rows(table: ColumnTable, user_columns: Columns) -> Source:
    """Samples of a table with a row for each image, or several. What is in no chosen column goes into `extra`.

    Args:
        table: as read.
        user_columns: the columns that the user named.

    Raises:
        DeixisError: no path column, or a column that isn't there; the message lists the columns there are.
    """
    chosen, tally, lookup = choose(table, user_columns), Tally(), Lookup(table.path)
    samples, skipped = _samples(table, chosen, lookup, tally)
    empty = [name for name in chosen.captions if not any(texts_in(row.get(name)) for _, row in table.rows)]
    notes = [*table.notes, *lookup.notes()]
    if empty:
        notes.append(f"The caption column {', '.join(map(repr, empty))} is empty in every row.")
    numbers = sum(isinstance(row.get(name), int | float) for name in chosen.captions for _, row in table.rows)
    if numbers:
        notes.append(f"{numbers} captions are numbers, taken as words; --caption-column names another column.")
    notes += tally.notes()
    every = (*table.skipped, *skipped)
    kind = kind_of(samples) if samples else "images"
    return Source(table.name, table.root or table.path, kind, table.layout, tuple(samples), every, tuple(notes))


def cell(row: Mapping[str, Any], column: str | None) -> str | None:
    """What stands in a column, as text in one line; None where there is nothing, or more than a word can hold."""
    value = row.get(column) if column is not None else None
    if value is None or isinstance(value, (list, dict)):
        return None
    text = " ".join("".join(c for c in str(value) if c != "\0").split())
    return text if text and is_text(text) else None


def _words(row: Mapping[str, Any], columns: Iterable[str]) -> tuple[list[str], str]:
    """The captions of a row, and the reason why some were left out."""
    cells = [row.get(column) for column in columns]
    texts = [text for cell in cells for text in texts_in(cell)]
    good = [text for text in texts if is_text(text)]
    nested = any(isinstance(each, dict) for cell in cells for each in (cell if isinstance(cell, list) else [cell]))
    return good, NOT_UTF8 if len(good) < len(texts) else NOT_TEXT if nested else ""


def _locate(value: Any, lookup: Lookup) -> tuple[str, Picture] | Skipped:
    return value if isinstance(value, tuple) else lookup.find(value)


def _samples(table: ColumnTable, chosen: Chosen, lookup: Lookup, tally: Tally) -> tuple[list[Sample], list[Skipped]]:
    drafts: dict[str, _Draft] = {}
    skipped: list[Skipped] = []
    for line, row in table.rows:
        where = f"{table.unit} {line}"
        found = _locate(row.get(chosen.path), lookup)
        if isinstance(found, Skipped):
            detail = f"{where}: {found.detail}" if found.detail else where
            skipped.append(dataclasses.replace(found, path=found.path or where, detail=detail))
            continue
        name, image = found
        if name not in drafts:
            extra = {key: value for key, value in row.items() if key not in chosen.all}
            drafts[name] = _Draft(image, [], None, (), "", extra)
        fault = _join(drafts[name], row, chosen)
        if fault is not None:
            reason, detail = fault
            skipped.append(Skipped(name, reason, f"{where}{detail}"))
    return [
        Sample(name, d.image, tally.clean(d.captions, name), d.label, d.groups, d.extra, d.split)
        for name, d in drafts.items()
    ], skipped


def _join(draft: _Draft, row: Mapping[str, Any], chosen: Chosen) -> tuple[str, str] | None:
    """Adds what a row says to its image; what doesn't fit comes back as a reason and a detail."""
    label, group = cell(row, chosen.label), cell(row, chosen.group)
    split = split_of(cell(row, chosen.split) or "")
    if label is not None and draft.label not in (None, label):
        return "second label of an image", f": {excerpt(label)}"
    if split and draft.split not in ("", split):
        return "second split of an image", f": {split}"
    groups = (f"group:{group}",) if group is not None else ()
    draft.label, draft.split = draft.label or label, draft.split or split
    draft.groups = tuple(dict.fromkeys((*draft.groups, *groups)))
    words, fault = _words(row, chosen.captions)
    draft.captions += words
    return (fault, "") if fault else None
