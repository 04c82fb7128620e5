"""One verb that reads a user's material, whatever form it has: `read`."""

from __future__ import annotations

import dataclasses
import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from deixis.data.readers.captions import excerpt
from deixis.data.readers.columns import Columns
from deixis.data.readers.formats.hub import is_dataset, read_dataset
from deixis.data.readers.names import caption_of, guess_groups
from deixis.data.readers.recognise import read_images, recognise, recognise_table
from deixis.data.readers.refusals import UNDERSTOOD, refuse_if_little_is_left, skip_notes
from deixis.errors import DeixisError
from deixis.types.samples import Source

__all__ = ["MAX_SKIPPED", "read"]

MAX_SKIPPED = 0.5
"""Share of rows or files that may be left out before the whole is refused."""


def read(
    path: str | os.PathLike[str] | Any,
    *,
    path_column: str | None = None,
    caption_column: str | None = None,
    label_column: str | None = None,
    group_column: str | None = None,
    names_as_captions: bool = False,
    max_skipped: float = MAX_SKIPPED,
) -> Source:
    """Reads what a user has, whatever form it has; which one is found by looking. No image is decoded;
    of those in a folder the header is read, for what it says in XMP, IPTC or EXIF.

    A folder of images, with captions beside them or a sub-folder for each class; a table (csv, tsv, jsonl, parquet);
    json with boxes, expressions or conversations, or COCO's; webdataset shards, also as a pattern with braces;
    a `datasets.Dataset`. docs/data.md shows each.

    Samples come in a fixed order. Where no group column is given or found, images that seem to show one thing are
    grouped by their name prefixes, and a note says so. What can't be used is left out, counted, and listed with the
    reason; the notes tell the cure.

    Args:
        path: a folder, a file, a pattern such as `shard-{0000..0099}.tar` or `photos/**/*.jpg`, a list of image files,
            or a `datasets.Dataset`.
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
    user_columns = Columns(path_column, caption_column, label_column, group_column)
    source = _source(path, user_columns)
    if names_as_captions:
        source = _captioned_by_name(source)
    refuse_if_little_is_left(source, max_skipped)
    if source.kind != "images" and group_column is None and not any(sample.groups for sample in source.samples):
        samples, note = guess_groups(source.samples)
        source = dataclasses.replace(source, samples=samples, notes=(*source.notes, *([note] if note else [])))
    if source.kind == "images":
        source = dataclasses.replace(source, notes=(*source.notes, _without_words(source)))
    return dataclasses.replace(source, notes=(*source.notes, *skip_notes(source)))


def _source(path: Any, user_columns: Columns) -> Source:
    if isinstance(path, list | tuple) and path and all(isinstance(each, str | os.PathLike) for each in path):
        return read_images([Path(each) for each in path], user_columns)
    if is_dataset(path):
        return recognise_table(read_dataset(path, user_columns), user_columns)
    if not isinstance(path, str | os.PathLike):
        raise DeixisError(f"A {type(path).__name__} can't be read as data.", UNDERSTOOD)
    text = os.fspath(path)
    if re.match(r"[A-Za-z][A-Za-z0-9+.\-]+:/", text):  # a Path makes one slash of two
        raise DeixisError(f"{excerpt(text, 200)} is a URL.", "URLs are not downloaded: download it first.")
    if "\0" in text:
        raise DeixisError(f"{excerpt(text)} holds a NUL character, so it is no path.", "Check the path.")
    return recognise(Path(text), user_columns)


def _without_words(source: Source) -> str:
    if any(sample.questions for sample in source.samples):
        return "There are questions, and neither captions nor labels."
    if any(sample.regions for sample in source.samples):
        return "There are boxes, and neither captions nor labels."
    if any("triplets" in sample.extra for sample in source.samples):
        return "There are votes on what looks alike, and neither captions nor labels."
    return "Neither captions nor labels were found; --names-as-captions uses the file names as captions."


def _captioned_by_name(source: Source) -> Source:
    samples = tuple(
        sample
        if sample.captions or sample.image is None
        else dataclasses.replace(sample, captions=tuple(filter(None, [caption_of(stem)])))
        for sample, stem in ((sample, PurePosixPath(sample.id).stem) for sample in source.samples)
    )
    made = sum(new is not old for new, old in zip(samples, source.samples, strict=True))
    named = sum(bool(s.captions) for s in samples) - sum(bool(s.captions) for s in source.samples)
    note = f"{named} captions were taken from file names; {made - named} names hold no words."
    kind = "captions" if any(sample.captions for sample in samples) else source.kind
    return dataclasses.replace(source, kind=kind, samples=samples, notes=(*source.notes, note))
