"""What is said of material that can't be read, and of parts of it that were left out."""

from __future__ import annotations

import collections
import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from deixis.data.readers.captions import BROKEN_XMP, NOT_UTF8, excerpt, full_path
from deixis.data.readers.lookup import NOT_IN_SHARD
from deixis.data.readers.regions import PARTS
from deixis.data.readers.rows import NOT_TEXT
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Skipped, Source

__all__ = ["UNDERSTOOD", "missing", "refuse_if_little_is_left", "refused", "skip_notes", "unknown_json"]

UNDERSTOOD = (
    "What is understood: a folder of images (with .txt files of the same names beside them, or a sub-folder for each "
    "class); a .csv, .tsv, .jsonl, .json or .parquet file with a path column and captions, labels, boxes or "
    "conversations; COCO's json; webdataset shards (.tar). docs/data.md shows each."
)
_JSON = (
    "What is understood of json: COCO's (images, annotations), RefCOCO's refs, or a list of objects (in .jsonl one a "
    "line), each with an image and a caption, a label, regions or conversations."
)
_REFUSED = {
    **dict.fromkeys(
        (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"),
        ("is a spreadsheet, which can't be read.", "Save the sheet as csv (File, Save as, CSV UTF-8), and give that."),
    ),
    **dict.fromkeys(
        (".arrow", ".feather"),
        (
            "is an Arrow file, which isn't read directly.",
            "Write it as parquet, for example: pyarrow.parquet.write_table(pyarrow.feather.read_table(FILE), "
            "'data.parquet'). Of a folder that datasets saved, read(datasets.load_from_disk(FOLDER)) does.",
        ),
    ),
    **dict.fromkeys(
        (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"),
        ("is an archive, which isn't read directly.", "Unpack it, and give the resulting folder."),
    ),
    **dict.fromkeys(
        (".p", ".pkl", ".pickle"),
        (
            "is a pickle, which can run any program when it is opened, and is never opened here.",
            'If you trust whom it comes from, write it as json: python -c "import json, pickle, sys; json.dump('
            "pickle.load(open(sys.argv[1], 'rb'), encoding='latin-1'), open(sys.argv[1] + '.json', 'w'))\" FILE",
        ),
    ),
}

_ABOUT_WORDS = frozenset(
    {
        NOT_UTF8,
        NOT_TEXT,
        "second label of an image",
        "second split of an image",
        "caption file is too large",
        "caption file can't be read",
        "json can't be read",
        "json is too large",
        "json of a wrong form",
    }
)
"""Reasons that concern words alone: the image is there all the same, and is counted once."""

_EXPECTED = frozenset({*PARTS, "was not downloaded", BROKEN_XMP})
"""Reasons that say nothing against the material as a whole."""

_CURES = {
    **PARTS,
    "is a URL": "URLs are not downloaded: download the images first, and name the files.",
    "file not found": "Paths are read relative to the table's folder, {root}, or to a folder in it.",
    "is in several folders": "Name the folder as well, such as photos/a.jpg.",
    NOT_IN_SHARD: "A file within a shard is named shard.tar/0001.jpg, as `deixis label` writes it.",
    BROKEN_XMP: "The images are used all the same; exiftool -xmp:all= FILE removes what is broken.",
    "path is empty": "Fill in the path column.",
    "path is not text": "Name the column that holds the names of files: --path-column.",
    NOT_UTF8: "Save the text as UTF-8, for example: iconv -f windows-1252 -t utf-8 OLD > NEW",
    NOT_TEXT: "A caption is a text, or a list of texts; --caption-column names another column.",
    "name is not UTF-8": "Rename the files, for example: convmv -r -f latin1 -t utf8 --notest FOLDER",
    "more cells than columns": "Put text that holds the separator between quotation marks.",
    "quotation mark not closed": "Close it, or double it where it belongs to the text.",
    "not valid JSON": "Each line must be one JSON object.",
    "not a JSON object": "Each line, or each element of the list, must be one JSON object.",
    "second label of an image": "The first was used; give one label for each image.",
    "second split of an image": "The first was used; an image belongs to one split.",
    "caption file is too large": "A caption file holds one caption a line.",
    "link points nowhere": "Fix the link, or remove it.",
    "no image": "The files of a sample have one name, up to its first dot.",
    "second file of a name": "The first was used; each file of a sample needs its own extension.",
    "shard is cut short or damaged": "The part before the damage was read; copy or download the shard again.",
    "is a link": "Write the shard with the files themselves: tar --dereference",
    "turns that can't be read": "Turns are objects with from (human, gpt) and value, each question before its answer.",
    "several images in one conversation": "One image a conversation is understood.",
    "image without a file_name": "Each of the images is an object with a file_name.",
}


def missing(path: Path) -> DeixisError:
    """A path that isn't there, with one of nearly that name if there is one."""
    names = os.listdir(path.parent) if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    cure = f"Did you mean {full_path(path.parent / near[0])}?" if near else "Check the path."
    return DeixisError(f"{full_path(path)} does not exist.", cure)


def refused(path: Path, suffix: str) -> DeixisError:
    """A file of a kind (`suffix`, which its bytes tell) that isn't read."""
    name = full_path(path)
    if suffix in IMAGE_SUFFIXES:
        return DeixisError(f"{name} is a single image.", f"Give the folder that holds it: {full_path(path.parent)}")
    if suffix in _REFUSED:
        found, cure = _REFUSED[suffix]
        own = path.suffix.lower()
        hint = "" if own in (suffix, "") or own in _REFUSED else f" (in spite of its name, {own})"
        if suffix == ".zip" and own in _REFUSED:
            found, cure = _REFUSED[own]
        return DeixisError(f"{name} {found.rstrip('.')}{hint}.", cure)
    return DeixisError(f"{name} is not a kind of file that can be read.", UNDERSTOOD)


def unknown_json(path: Path, value: object) -> DeixisError:
    """A json of no supported form, with its content."""
    content = f"a json {'list' if isinstance(value, list) else type(value).__name__}"
    if isinstance(value, dict):
        keys = ", ".join(repr(excerpt(str(key), 40)) for key in list(value)[:8])
        content = f"a json object with the keys {keys}{', ...' if len(value) > 8 else ''}" if value else "an empty json"
    elif isinstance(value, list):
        content = f"a json list of {type(value[0]).__name__}" if value else "an empty json list"
    return DeixisError(f"{full_path(path)} is {content}, of a form that isn't supported.", _JSON)


def _reasons(skipped: Sequence[Skipped]) -> list[tuple[str, int, Skipped]]:
    counts = collections.Counter(item.reason for item in skipped)
    first = {item.reason: item for item in reversed(skipped)}
    return [(reason, count, first[reason]) for reason, count in counts.most_common()]


def _cure(reason: str, source: Source) -> str:
    root = source.root if source.root.is_dir() else source.root.parent
    return _CURES.get(reason, "").replace("{root}", full_path(root.resolve()))


def skip_notes(source: Source) -> list[str]:
    """One remark for each reason for which something was left out, with the cure."""
    return [
        f"{count} skipped, {reason} (such as {excerpt(first.path)}). {_cure(reason, source)}".strip()
        for reason, count, first in _reasons(source.skipped)
    ]


def refuse_if_little_is_left(source: Source, max_skipped: float) -> None:
    """Sees to it that enough of a source could be used.

    Raises:
        DeixisError: nothing could, or more than `max_skipped` of it was left out.
    """
    left_out = len({item.path for item in source.skipped if item.reason not in _EXPECTED})
    usable = len(source.samples)
    words = _ABOUT_WORDS | _EXPECTED
    total = usable + len({item.path for item in source.skipped if item.reason not in words})
    if usable and left_out <= max_skipped * total:
        return
    if not usable:
        left_out = total = len({item.path for item in source.skipped})
    counts = "; ".join(
        f"{count} {reason} (such as {excerpt(first.path)})" for reason, count, first in _reasons(source.skipped)
    )
    what = "None of it could be used" if not usable else f"Above the limit of {max_skipped:.0%}"
    cures = " ".join(filter(None, (_cure(reason, source) for reason, _, _ in _reasons(source.skipped))))
    raise DeixisError(
        f"{left_out} of {total} entries of {full_path(source.root)} had to be skipped: {counts}. {what}.", cures
    )
