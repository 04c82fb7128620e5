"""A folder of images: text files beside them, class sub-folders, or images alone."""

from __future__ import annotations

import collections
import functools
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from deixis.data.readers.captions import NOT_UTF8, Tally, decode, excerpt, full_path, is_text
from deixis.data.readers.embedded import embedded_captions, embedded_columns
from deixis.data.readers.names import split_of
from deixis.errors import DeixisError
from deixis.inputs.formats import IMAGE_SUFFIXES
from deixis.types.samples import Sample, Skipped, Source

__all__ = ["Walk", "read_folder"]

MAX_TEXT_FILE = 4 * 2**20
"""Bytes of a caption file; a larger one is no caption."""

_JUNK = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin", "lost+found"})
_TABLES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".xlsx", ".json"})
_ARCHIVES = frozenset({".zip", ".gz", ".tgz", ".7z", ".rar"})


class Walk:
    """The files below a folder, by path relative to it, in sorted order. A folder that is reached twice (through
    links) is read once, under its own name if it has one here.

    Args:
        root: the folder.
        images: the only images that are read, by path relative to `root`; of other files those beside them. All where
            None.
    """

    def __init__(self, root: Path, images: Collection[str] | None = None) -> None:
        self.files: list[str] = []
        self.suffixes: dict[str, str] = {}
        self.skipped: list[Skipped] = []
        self._root = os.path.realpath(root)
        self._linked: set[str] = set()
        if images is None:
            pending = [""]
            while pending:
                pending += reversed(self._folder(pending.pop()))
            return
        for folder in sorted({os.path.dirname(each) for each in images}):
            self._folder(folder)
        self.files = [each for each in self.files if self.suffixes[each] not in IMAGE_SUFFIXES or each in images]

    @functools.cached_property
    def images(self) -> list[str]:
        """Those of the files that are named as images are."""
        return [name for name in self.files if self.suffixes[name] in IMAGE_SUFFIXES]

    def _folder(self, folder: str) -> list[str]:
        try:
            with os.scandir(os.path.join(self._root, folder)) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            self.skipped.append(Skipped(excerpt(folder) or ".", "folder can't be read", error.strerror or ""))
            return []
        below = []
        for entry in entries:
            if entry.name.startswith(".") or entry.name.casefold() in _JUNK:
                continue
            name = f"{folder}/{entry.name}" if folder else entry.name
            if self._is_folder(entry):
                if not entry.is_symlink() or self._may_follow(entry.path):
                    below.append(name)
            else:
                self._file(entry, name)
        return below

    @staticmethod
    def _is_folder(entry: os.DirEntry[str]) -> bool:
        try:
            return entry.is_dir()
        except OSError:
            return False

    def _may_follow(self, link: str) -> bool:
        real = os.path.realpath(link)
        common = os.path.commonpath([real, self._root])
        if common in (real, self._root) or real in self._linked:
            return False
        self._linked.add(real)
        return True

    def _file(self, entry: os.DirEntry[str], name: str) -> None:
        suffix = _suffix(name)
        is_image = suffix in IMAGE_SUFFIXES
        try:
            regular = entry.is_file()
        except OSError:
            regular = False
        if is_image and not is_text(name):
            readable = os.fsencode(name).decode("utf-8", "backslashreplace")
            self.skipped.append(Skipped(readable, "name is not UTF-8"))
        elif regular:
            self.files.append(name)
            self.suffixes[name] = suffix
        elif is_image:
            reason = "link points nowhere" if entry.is_symlink() else "not a regular file"
            self.skipped.append(Skipped(name, reason))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def read_folder(root: Path, walk: Walk | None = None, embedded: Sequence[str] = ()) -> Source:
    """Reads a folder of images; how it is laid out is found by looking.

    * A `.txt` file of the same name beside an image holds its captions, one a line.
    * Else images that lie in two or more sub-folders only, and not beside them, are labelled by sub-folder (`train`
      and `test` folders above the classes are read as such).
    * Else the images are alone.

    What the files say of themselves (XMP, IPTC, EXIF) becomes columns: `title`, `caption`, `keywords`, `date`.

    Args:
        root: the folder.
        walk: what is in it, if it was listed already.
        embedded: which of these columns are taken for captions.

    Raises:
        DeixisError: no image is there; the message says what is.
    """
    walk = walk or Walk(root)
    images = walk.images
    if not images and not walk.skipped:
        raise _without_images(root, walk.files)
    tally, skipped, notes = Tally(), list(walk.skipped), _remarks(root, walk)
    captions, texts = _captions(root, images, set(walk.files), tally, skipped)
    columns = embedded_columns(root, images, skipped)
    captions |= embedded_captions(columns, embedded, tally)
    folders = _folders(images)
    splits = _splits(folders, notes)
    kind, layout, labels = "images", "folder of images", dict[str, str]()
    if texts or captions:
        where = ".txt beside the images" if texts else "captions inside the images"
        kind, layout = "captions" if captions else "images", f"folder with {where}"
    elif labels := _labels({name: folders[name][1:] if splits else folders[name] for name in images}, notes):
        kind, layout = "labels", "folder with a sub-folder for each class"
    samples = [
        Sample(
            name,
            root / name,
            captions.get(name, ()),
            labels.get(name),
            split=splits.get(name, ""),
            extra=columns.get(name, {}),
        )
        for name in images
    ]
    stray = sum(walk.suffixes[name] == ".txt" for name in walk.files) - len(texts)
    if stray and texts:
        notes.append(f"{stray} .txt files have no image of their name beside them.")
    notes += tally.notes()
    return Source(root.resolve().name, root, kind, layout, tuple(samples), tuple(skipped), tuple(notes))


def _captions(
    root: Path, images: Sequence[str], files: set[str], tally: Tally, skipped: list[Skipped]
) -> tuple[dict[str, tuple[str, ...]], set[str]]:
    captions, read = {}, {}
    for image in images:
        stem = os.path.splitext(image)[0]
        name = next((n for n in (f"{stem}.txt", f"{stem}.TXT", f"{image}.txt") if n in files), None)
        if name is None:
            continue
        if name not in read:
            read[name] = _caption_file(root / name, name, tally, skipped)
        if read[name]:
            captions[image] = read[name]
    return captions, set(read)


def _caption_file(path: Path, name: str, tally: Tally, skipped: list[Skipped]) -> tuple[str, ...]:
    try:
        if path.stat().st_size > MAX_TEXT_FILE:
            skipped.append(Skipped(name, "caption file is too large", f"above {MAX_TEXT_FILE // 2**20} MiB"))
            return ()
        text = decode(path.read_bytes())
    except OSError as error:
        skipped.append(Skipped(name, "caption file can't be read", error.strerror or ""))
        return ()
    if not is_text(text):
        skipped.append(Skipped(name, NOT_UTF8))
        return ()
    return tally.clean(text.splitlines(), name)


def _folders(images: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The folders that each image lies in, from the first at which they part."""
    folders = {image: tuple(image.split("/")[:-1]) for image in images}
    tops = {parts[:1] for parts in folders.values()}
    while len(tops) == 1 and tops != {()}:
        folders = {image: parts[1:] for image, parts in folders.items()}
        tops = {parts[:1] for parts in folders.values()}
    return folders


def _splits(folders: Mapping[str, tuple[str, ...]], notes: list[str]) -> dict[str, str]:
    """The side of a split that each image lies on; none unless all folders are named so."""
    splits = {image: split_of(parts[0]) if parts else "" for image, parts in folders.items()}
    if not splits or not all(splits.values()):
        return {}
    names = ", ".join(sorted({parts[0] for parts in folders.values()}))
    notes.append(f"{names} were read as splits, not classes; `deixis adapt` makes its own.")
    return splits


def _labels(folders: Mapping[str, tuple[str, ...]], notes: list[str]) -> dict[str, str]:
    if not all(folders.values()) or len({parts[0] for parts in folders.values()}) < 2:
        return {}
    labels = {image: parts[0] for image, parts in folders.items()}
    classes = collections.Counter(labels.values())
    some = ", ".join(excerpt(name, 30) for name in list(classes)[:5])
    notes.append(f"{len(classes)} classes, named by sub-folder: {some}{', ...' if len(classes) > 5 else '.'}")
    return labels


def _counted(names: Iterable[str]) -> str:
    counts = collections.Counter(excerpt(_suffix(name), 12) or "without an extension" for name in names)
    return ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(6))


def _remarks(root: Path, walk: Walk) -> list[str]:
    notes = []
    tables = [name for name in walk.files if "/" not in name and walk.suffixes[name] in _TABLES]
    if tables:
        notes.append(f"{excerpt(tables[0])} was not read; to use it as the table, give {full_path(root / tables[0])}.")
    known = IMAGE_SUFFIXES | _TABLES | {".txt"}
    others = [name for name in walk.files if walk.suffixes[name] not in known]
    if others:
        notes.append(f"Files that are no images were left out: {_counted(others)}.")
    return notes


def _without_images(root: Path, files: Sequence[str]) -> DeixisError:
    if not files:
        return DeixisError(f"The folder {full_path(root)} holds no files.", "Give a folder with images, or a table.")
    found = f"The folder {full_path(root)} holds no images, but {_counted(files)}."
    table = next((name for name in files if _suffix(name) in _TABLES), None)
    if table is not None:
        return DeixisError(found, f"To read the table, give its path: {full_path(root / table)}")
    if any(_suffix(name) == ".arrow" for name in files):
        return DeixisError(found, f"To read what datasets saved: read(datasets.load_from_disk({str(root)!r}))")
    if any(_suffix(name) in _ARCHIVES for name in files):
        return DeixisError(found, "Unpack the archive first, and give the resulting folder.")
    return DeixisError(found, f"Images are files that end in {', '.join(sorted(IMAGE_SUFFIXES))}.")
