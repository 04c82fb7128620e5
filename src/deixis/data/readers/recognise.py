"""Which form a user's material has is found by looking, and the reader of that form is called."""

from __future__ import annotations

import dataclasses
import glob
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import excerpt, full_path
from deixis.data.readers.columns import Columns, ColumnTable
from deixis.data.readers.formats.folders import Walk, read_folder
from deixis.data.readers.formats.tables import TABLE_SUFFIXES, read_json, read_table, table_of
from deixis.data.readers.refusals import UNDERSTOOD, missing, refused, unknown_json
from deixis.data.readers.rows import from_rows
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.inputs.metadata import FIELDS
from deixis.types.samples import Source

__all__ = ["read_images", "recognise", "recognise_table"]

MAX_FILES = 1_000_000
"""Files that one pattern may name."""

_MAGIC = {
    b"PK\x03\x04": ".zip",
    b"PAR1": ".parquet",
    b"ARROW1": ".arrow",
    b"\x1f\x8b": ".gz",
    b"\xd0\xcf\x11\xe0": ".xls",
    b"7z\xbc\xaf": ".7z",
    b"\x80\x02": ".pkl",
    b"\x80\x03": ".pkl",
    b"\x80\x04": ".pkl",
    b"\x80\x05": ".pkl",
}
_BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")


def recognise(path: Path, user_columns: Columns) -> Source:
    """Reads a folder, a file, or the files that a pattern such as `shard-{0000..0099}.tar` names.

    Args:
        path: what the user gave.
        user_columns: the columns that the user named.

    Raises:
        DeixisError: there is nothing, or nothing that can be read; the message says what would be.
    """
    try:
        if path.is_dir():
            return _folder(path, user_columns)
        if path.exists():
            return _file(path, user_columns)
        if _BRACES.search(str(path)):
            return _several(_named_by(path), user_columns, path)
        if glob.has_magic(str(path)):
            return _matching(path, user_columns)
        raise missing(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DeixisError(
            f"{full_path(path)} can't be read: {reason}.", "Check the path and its permissions."
        ) from error


def read_images(files: Sequence[Path], user_columns: Columns) -> Source:
    """Reads single images as a part of the folder that they share, with the captions or classes that they have there.

    Args:
        files: images.
        user_columns: the columns that the user named; a folder has none.

    Raises:
        DeixisError: one of the files is missing or no image.
    """
    for each in files:
        if not each.is_file():
            raise missing(each)
        if each.suffix.lower() not in IMAGE_SUFFIXES:
            raise refused(each, each.suffix.lower())
    places = [each.parent.resolve() / each.name for each in files]
    folder = Path(os.path.commonpath([each.parent for each in places]))
    _refuse_columns(folder, user_columns, "holds single images, which have no columns")
    return read_folder(folder, Walk(folder, {each.relative_to(folder).as_posix() for each in places}))


def recognise_table(table: ColumnTable, user_columns: Columns) -> Source:
    """Reads rows as what their columns show them to be: conversations, refs, records with regions, boxes, votes on
    triplets, or plain rows."""
    from deixis.data.readers.formats import boxes, conversations, refer, triplets

    if triplets.holds_triplets(table):
        return triplets.from_triplets(table)
    if user_columns == Columns():
        if conversations.holds_conversations(table):
            return conversations.from_conversations(table)
        if refer.holds_refs(table):
            return refer.from_refs(table)
        if refer.holds_regions(table):
            return refer.from_records(table)
        if boxes.holds_boxes(table):
            return boxes.from_boxes(table)
    return from_rows(table, user_columns)


# Folders and patterns


def _folder(path: Path, user_columns: Columns) -> Source:
    from deixis.data.readers.formats.coco import annotation_files, read_coco

    annotations = annotation_files(path)
    if annotations:
        _refuse_columns(path, user_columns)
        return read_coco(path, dict.fromkeys(annotations))
    walk = Walk(path)
    for suffix in () if walk.images else (".tar", ".parquet"):
        files = [path / name for name in walk.files if name.lower().endswith(suffix)]
        if files:
            return _several(files, user_columns, path)
    return read_folder(path, walk, _embedded(path, user_columns))


def _embedded(path: Path, user_columns: Columns) -> list[str]:
    """The columns that image files bring themselves and that the user takes for captions."""
    if user_columns.caption is None or user_columns != Columns(caption=user_columns.caption):
        _refuse_columns(path, user_columns)
        return []
    names = [name.strip() for name in user_columns.caption.split(",")]
    if not set(names) <= set(FIELDS):
        raise DeixisError(
            f"{full_path(path)} is a folder, and a folder has no columns but those that images bring in XMP, IPTC "
            f"or EXIF: {', '.join(FIELDS)}. {user_columns.caption!r} is none of them.",
            "Name these with --caption-column, or give a csv with the columns.",
        )
    return names


def _refuse_columns(path: Path, user_columns: Columns, what: str = "is a folder, and a folder has no columns") -> None:
    if user_columns != Columns():
        raise DeixisError(f"{full_path(path)} {what}.", "Leave the column flags out, or give a csv with the columns.")


def _matching(pattern: Path, user_columns: Columns) -> Source:
    """The files that a pattern with `*`, `?` or `[...]` matches; `**` matches folders of any depth."""
    files = [Path(each) for each in sorted(glob.glob(str(pattern), recursive=True)) if os.path.isfile(each)]
    if not files:
        raise DeixisError(f"No file matches {pattern}.", "Check the pattern; ** stands for folders of any depth.")
    images = [each for each in files if each.suffix.lower() in IMAGE_SUFFIXES]
    return read_images(images, user_columns) if images else _several(files, user_columns, pattern)


def _several(files: Sequence[Path], user_columns: Columns, root: Path) -> Source:
    """Reads files of one kind as one collection."""
    suffixes = sorted({path.suffix.lower() for path in files})
    if suffixes == [".tar"]:
        return _shards(files, user_columns, root)
    if suffixes == [".parquet"]:
        from deixis.data.readers.formats.parquet import read_parquet

        table = read_parquet(files, user_columns)
        return recognise_table(table if root == table.path else dataclasses.replace(table, root=root), user_columns)
    raise DeixisError(
        f"{full_path(root)} names {len(files)} files that end in {', '.join(suffixes) or 'nothing'}.",
        "Several at once may be shards (.tar) or .parquet files.",
    )


def _shards(files: Sequence[Path], user_columns: Columns, root: Path) -> Source:
    from deixis.data.readers.formats.shards import read_shards

    _refuse_columns(root, user_columns, "is read as shards, which have no columns")
    return read_shards(files)


def _named_by(pattern: Path) -> list[Path]:
    """The files that a pattern names, all of which must be there."""
    parts, at, count = [], 0, 1
    text = str(pattern)
    for match in _BRACES.finditer(text):
        names = _alternatives(match, text)
        count *= len(names)
        if count > MAX_FILES:
            raise DeixisError(f"{excerpt(text, 200)} names more than {MAX_FILES:,} files.", "Check the numbers.")
        parts += [[text[at : match.start()]], names]
        at = match.end()
    files = [Path("".join(each)) for each in itertools.product(*parts, [text[at:]])]
    gone = [file for file in files if not file.is_file()]
    if gone:
        some = ", ".join(full_path(file) for file in gone[:3])
        raise DeixisError(
            f"{len(gone)} of the {len(files)} files that {excerpt(text, 200)} names are missing: "
            f"{some}{', ...' if len(gone) > 3 else ''}.",
            "Check the numbers, or fetch what is missing.",
        )
    return files


def _alternatives(match: re.Match[str], text: str) -> list[str]:
    if match[3] is not None:
        return match[3].split(",")
    first, last = int(match[1]), int(match[2])
    if last < first or last - first >= MAX_FILES:
        raise DeixisError(f"{excerpt(text, 200)}: {match[0]} counts no files.", "Write it as {0000..0099}.")
    width = max(len(match[1]), len(match[2])) if "0" in (match[1][0], match[2][0]) else 0
    return [f"{number:0{width}}" for number in range(first, last + 1)]


# Files


def _file(path: Path, user_columns: Columns) -> Source:
    if not path.is_file():
        raise DeixisError(f"{full_path(path)} is neither a folder nor a regular file.", UNDERSTOOD)
    suffix = _kind_of_file(path)
    readers: dict[str, Callable[[], Source]] = {
        **dict.fromkeys(TABLE_SUFFIXES, lambda: recognise_table(read_table(path, user_columns), user_columns)),
        ".json": lambda: _json(path, user_columns),
        ".parquet": lambda: _several([path], user_columns, path),
        ".tar": lambda: _shards([path], user_columns, path),
    }
    if suffix not in readers:
        raise refused(path, suffix)
    return readers[suffix]()


def _kind_of_file(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), path.suffix.lower())


def _json(path: Path, user_columns: Columns) -> Source:
    from deixis.data.readers.formats import coco

    value: Any = read_json(path)
    if isinstance(value, ColumnTable):
        return recognise_table(value, user_columns)
    if coco.is_coco(value):
        _refuse_columns(path, user_columns, "is COCO's json, which has no columns")
        return coco.read_coco(path, {path: value})
    if isinstance(value, list) and any(isinstance(each, dict) for each in value):
        return recognise_table(table_of(value, path), user_columns)
    raise unknown_json(path, value)
