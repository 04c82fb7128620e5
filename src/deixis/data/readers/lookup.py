"""Finds the images that a table or a json names: files, and files within a shard."""

from __future__ import annotations

import collections
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import excerpt, full_path, is_text
from deixis.data.readers.tars import TarEntry, listing
from deixis.errors import DeixisError
from deixis.types.samples import Member, Picture, Skipped

__all__ = ["NOT_IN_SHARD", "Lookup"]

NOT_IN_SHARD = "not in the shard"

MANY_FOLDERS = 50
"""Sub-folders beside a table beyond which only those with usual names are looked into."""

_ANNOTATIONS = frozenset({"annotations", "annotation", "anns", "labels"})
_USUAL = re.compile(r"(images?|imgs?|photos?|pictures?|jpegimages|(train|val|valid|test)\w*)$", re.IGNORECASE)
_IN_A_SHARD = re.compile(r"(.*?\.tar)/(.+)", re.IGNORECASE | re.DOTALL)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://|data:|www\.")


class Lookup:
    """Where the images of one table lie: beside it, or in the folders beside it.

    A name that lies beside the table is taken from there. Else it must lie in exactly one of the folders beside it,
    or in the one whose name stands in the table's (`train2017` for `instances_train2017.json`).

    A file within a shard is named `shard.tar/0001.jpg`.

    Args:
        table: the file that names images. Of one in a folder `annotations`, the folder above counts as well.
        root: the ids of what is found are relative to it; None: to the table's folder, or the one above.
    """

    def __init__(self, table: Path, root: Path | None = None) -> None:
        own = table.parent
        above = own.name.casefold() in _ANNOTATIONS
        self.root = root or (own.parent if above else own)
        self._hint = table.stem.casefold()
        self._prefix = "" if str(self.root) == "." else os.path.join(os.path.normpath(self.root), "")
        first = [own, own.parent] if above else [own]
        further = dict.fromkeys(folder for base in first for folder in _below(base) if folder not in first)
        self._first, self._further = list(map(str, first)), list(map(str, further))
        self._found: collections.Counter[str] = collections.Counter()
        self._listed: dict[Path, dict[str, TarEntry]] = {}

    def find(self, value: Any) -> tuple[str, Picture] | Skipped:
        """The id of the image that a cell names and where it lies, or why there is none."""
        if value is not None and not isinstance(value, str):
            return Skipped(excerpt(str(value)), "path is not text")
        text = (value or "").strip()
        if value is None or not text:
            return Skipped("", "path is empty")
        if _URL.match(text):
            return Skipped(excerpt(text, 200), "is a URL")
        if not is_text(text):
            return Skipped(excerpt(text), "name is not UTF-8")
        for name in dict.fromkeys((text, value, text.replace("\\", "/"))):
            try:
                found = self._look(name) or self._member(name)
            except (OSError, ValueError):
                break
            if found is not None:
                return found
        return Skipped(excerpt(text, 200), "file not found")

    def _look(self, name: str) -> tuple[str, Path] | Skipped | None:
        for folder in self._first:
            full = os.path.normpath(os.path.join(folder, name))
            if os.path.isfile(full):
                return self._named(name, full)
            if os.path.exists(full):
                return Skipped(excerpt(name, 200), "is not a file")
        if os.path.isabs(name):
            return None
        hits = [folder for folder in self._further if os.path.isfile(os.path.join(folder, name))]
        if len(hits) > 1:
            hits = [folder for folder in hits if os.path.basename(folder).casefold() in self._hint] or hits
        if len(hits) > 1:
            where = ", ".join(map(self._relative, hits[:3]))
            return Skipped(excerpt(name, 200), "is in several folders", where)
        if not hits:
            return None
        self._found[self._relative(hits[0])] += 1
        return self._named(name, os.path.normpath(os.path.join(hits[0], name)))

    def _member(self, name: str) -> tuple[str, Picture] | Skipped | None:
        """The file within a shard that a name such as `shard.tar/0001.jpg` means."""
        parts = _IN_A_SHARD.fullmatch(name)
        shard = self._look(parts[1]) if parts is not None else None
        if parts is None or shard is None or isinstance(shard, Skipped):
            return shard
        own, tar = shard
        if tar not in self._listed:
            try:
                self._listed[tar] = {entry.name: entry for entry in listing(tar).entries}
            except DeixisError as error:
                return Skipped(excerpt(name, 200), NOT_IN_SHARD, excerpt(error.found, 200))
        entry = self._listed[tar].get(parts[2])
        if entry is None:
            return Skipped(excerpt(name, 200), NOT_IN_SHARD)
        return f"{own}/{entry.name}", Member(tar, *entry)

    def _named(self, name: str, full: str) -> tuple[str, Path]:
        inside = not os.path.isabs(name) or Path(full).is_relative_to(self.root)
        return (self._relative(full) if inside else Path(full).as_posix()), Path(full)

    def _relative(self, full: str) -> str:
        if self._prefix and full.startswith(self._prefix):
            return full[len(self._prefix) :]
        return Path(os.path.relpath(full, self.root)).as_posix()

    def notes(self) -> list[str]:
        """Where images were found, unless all lay beside the table."""
        if not self._found:
            return []
        where = ", ".join(f"{excerpt(name, 60)} ({count})" for name, count in self._found.most_common(5))
        return [f"Images were found in these folders of {full_path(self.root)}: {where}."]


def _below(base: Path) -> Sequence[Path]:
    """The folders in one, and those of its `images`: with usual names only where there are many."""
    folders = _folders(base)
    if len(folders) > MANY_FOLDERS:
        folders = [folder for folder in folders if _USUAL.match(folder.name)]
    images = next((folder for folder in folders if folder.name.casefold() == "images"), None)
    return folders if images is None else [*folders, *_folders(images)[:MANY_FOLDERS]]


def _folders(base: Path) -> list[Path]:
    try:
        with os.scandir(base) as found:
            return sorted(Path(entry.path) for entry in found if entry.is_dir() and not entry.name.startswith("."))
    except OSError:
        return []
