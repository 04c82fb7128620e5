"""One verb that reads a user's material, whatever form it has: `read`."""

from __future__ import annotations

import collections
import dataclasses
import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from deixis.data.captions import NOT_UTF8, shown, whole
from deixis.data.folders import read_folder
from deixis.data.names import caption_of, guess_groups
from deixis.data.tables import TABLE_SUFFIXES, Columns, read_table
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Skipped, Source

__all__ = ["MAX_SKIPPED", "read"]

MAX_SKIPPED = 0.5
"""Share of rows or files that may be left out before the whole is refused."""

_UNDERSTOOD = (
    "What is understood: a folder of images (with .txt files of the same names beside them, or a sub-folder for each "
    "class), or a .csv, .tsv or .jsonl file with a path column and a caption or label column."
)
_REFUSED = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"),
        ("is a spreadsheet, which can't be read.", "Save the sheet as csv (File, Save as, CSV UTF-8), and give that."),
    ),
    **dict.fromkeys(
        (".parquet", ".arrow", ".feather"),
        (
            "is a columnar file, which can't be read yet.",
            "Write it as csv or jsonl, for example: pandas.read_parquet(FILE).to_json('data.jsonl', orient='records', "
            "lines=True)",
        ),
    ),
    **dict.fromkeys(
        (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
        ("is an archive, which isn't read directly.", "Unpack it, and give the folder that comes out."),
    ),
    ".json": ("is a json file of a form that isn't known.", "Write one JSON object a line, and name the file .jsonl."),
}
_MAGIC = {
    b"PK\x03\x04": ".zip",
    b"PAR1": ".parquet",
    b"\x1f\x8b": ".gz",
    b"\xd0\xcf\x11\xe0": ".xls",
    b"7z\xbc\xaf": ".7z",
}
_SAMPLE_KEPT = frozenset(
    {NOT_UTF8, "second label of an image", "caption file is too large", "caption file can't be read"}
)
"""Reasons that concern words alone: the image is there all the same, and is counted once."""

_CURES = {
    "is a URL": "Addresses aren't fetched: download the images first, and name the files.",
    "file not found": "Paths are read relative to the table's folder, {root}.",
    "path is empty": "Fill in the path column.",
    NOT_UTF8: "Save the text as UTF-8, for example: iconv -f windows-1252 -t utf-8 OLD > NEW",
    "name is not UTF-8": "Rename the files, for example: convmv -r -f latin1 -t utf8 --notest FOLDER",
    "more cells than columns": "Put text that holds the separator between quotation marks.",
    "quotation mark not closed": "Close it, or double it where it belongs to the text.",
    "not valid JSON": "Each line must be one JSON object.",
    "not a JSON object": "Each line must be one JSON object.",
    "second label of an image": "The first was kept; give one label for each image.",
    "caption file is too large": "A caption file holds one caption a line.",
    "link points nowhere": "Mend the link, or remove it.",
}


def read(
    path: str | os.PathLike[str],
    *,
    path_column: str | None = None,
    caption_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    names_as_captions: bool = False,
    max_skipped: float = MAX_SKIPPED,
) -> Source:
    """Reads a folder of images or a table that names them; no image is opened.

    Samples come in a fixed order. Where no group column is told or found, images that seem to show one thing are
    grouped by their name prefixes, and a note says so. What can't be used is left out, counted, and listed with the
    reason; the notes tell the cure.

    Args:
        path: a folder, or a csv, tsv or jsonl file.
        path_column: the column that names the image files; found by its name where it is a usual one.
        caption_column: the column with captions; several with commas between them.
        label_column: the column with classes.
        group_column: a column whose equal values mark images of one thing.
        names_as_captions: take the file name as the caption where an image has none.
        max_skipped: share of rows or files that may be left out.

    Raises:
        DeixisError: the path is missing or of a kind that can't be read, a column is missing, nothing is there, or more
            than `max_skipped` of it had to be left out.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:/", str(path)):  # a Path makes one slash of two
        raise DeixisError(f"{shown(str(path), 200)} is a URL.", "Addresses aren't fetched: download it first.")
    if "\0" in str(path):
        raise DeixisError(f"{shown(str(path))} holds a NUL character, so it is no path.", "Check the path.")
    told = Columns(path_column, caption_column, label_column, group_column)
    source = _read(Path(path), told)
    if names_as_captions:
        source = _captioned_by_name(source)
    _refuse_if_little_is_left(source, max_skipped)
    if source.kind != "images" and group_column is None and not any(sample.groups for sample in source.samples):
        samples, note = guess_groups(source.samples)
        source = dataclasses.replace(source, samples=samples, notes=(*source.notes, *([note] if note else [])))
    if source.kind == "images":
        note = "Neither captions nor labels were found; --names-as-captions takes the file names as captions."
        source = dataclasses.replace(source, notes=(*source.notes, note))
    return dataclasses.replace(source, notes=(*source.notes, *_skip_notes(source)))


def _read(path: Path, told: Columns) -> Source:
    try:
        if path.is_dir():
            if told != Columns():
                raise DeixisError(
                    f"{whole(path)} is a folder, and a folder has no columns.",
                    "Leave the column flags out, or give a csv with the columns.",
                )
            return read_folder(path)
        if not path.exists():
            raise _missing(path)
        if not path.is_file():
            raise DeixisError(f"{whole(path)} is neither a folder nor a regular file.", _UNDERSTOOD)
        suffix = _kind_of_file(path)
        if suffix not in TABLE_SUFFIXES:
            raise _refused(path, suffix)
        return read_table(path, told)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DeixisError(f"{whole(path)} can't be read: {reason}.", "Check the path and its permissions.") from error


def _kind_of_file(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), path.suffix.lower())


def _missing(path: Path) -> DeixisError:
    names = os.listdir(path.parent) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    cure = f"Did you mean {whole(path.parent / near[0])}?" if near else "Check the path."
    return DeixisError(f"{whole(path)} does not exist.", cure)


def _refused(path: Path, suffix: str) -> DeixisError:
    name = whole(path)
    if suffix in IMAGE_SUFFIXES:
        return DeixisError(f"{name} is a single image.", f"Give the folder that holds it: {whole(path.parent)}")
    if suffix in _REFUSED:
        found, cure = _REFUSED[suffix]
        own = path.suffix.lower()
        hint = "" if own in (suffix, "") or own in _REFUSED else f" (in spite of its name, {own})"
        if suffix == ".zip" and own in _REFUSED:
            found, cure = _REFUSED[own]
        return DeixisError(f"{name} {found.rstrip('.')}{hint}.", cure)
    return DeixisError(f"{name} is not a kind of file that can be read.", _UNDERSTOOD)


def _captioned_by_name(source: Source) -> Source:
    samples = tuple(
        sample if sample.captions else dataclasses.replace(sample, captions=tuple(filter(None, [caption_of(stem)])))
        for sample, stem in ((sample, PurePosixPath(sample.id).stem) for sample in source.samples)
    )
    made = sum(new is not old for new, old in zip(samples, source.samples, strict=True))
    told = sum(bool(s.captions) for s in samples) - sum(bool(s.captions) for s in source.samples)
    note = f"{told} captions were taken from file names; {made - told} names hold no words."
    kind = "captions" if any(sample.captions for sample in samples) else source.kind
    return dataclasses.replace(source, kind=kind, samples=samples, notes=(*source.notes, note))


def _reasons(skipped: Sequence[Skipped]) -> list[tuple[str, int, Skipped]]:
    counts = collections.Counter(item.reason for item in skipped)
    first = {item.reason: item for item in reversed(skipped)}
    return [(reason, count, first[reason]) for reason, count in counts.most_common()]


def _cure(reason: str, source: Source) -> str:
    root = source.root if source.root.is_dir() else source.root.parent
    return _CURES.get(reason, "").replace("{root}", whole(root.resolve()))


def _skip_notes(source: Source) -> list[str]:
    return [
        f"{count} skipped, {reason} (such as {shown(first.path)}). {_cure(reason, source)}".strip()
        for reason, count, first in _reasons(source.skipped)
    ]


def _refuse_if_little_is_left(source: Source, max_skipped: float) -> None:
    left_out, kept = len({item.path for item in source.skipped}), len(source.samples)
    total = kept + len({item.path for item in source.skipped if item.reason not in _SAMPLE_KEPT})
    if kept and left_out <= max_skipped * total:
        return
    counts = "; ".join(
        f"{count} {reason} (such as {shown(first.path)})" for reason, count, first in _reasons(source.skipped)
    )
    what = "None of it could be used" if not kept else f"Above the limit of {max_skipped:.0%}"
    cures = " ".join(filter(None, (_cure(reason, source) for reason, _, _ in _reasons(source.skipped))))
    raise DeixisError(
        f"{left_out} of {total} entries of {whole(source.root)} had to be skipped: {counts}. {what}.", cures
    )
