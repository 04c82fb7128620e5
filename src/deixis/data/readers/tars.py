"""What a tar holds, and where: from a walk over its headers, stored in an index beside it. Nothing is unpacked."""

from __future__ import annotations

import contextlib
import hashlib
import json
import operator
import os
import re
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from deixis.data.readers.captions import excerpt, full_path, is_text
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.types.samples import Skipped

__all__ = ["IndexedSample", "Listing", "TarEntry", "index_path", "is_packed", "listing", "write_index"]

_BLOCK = tarfile.BLOCKSIZE
_FORMAT = "deixis-shard-index"
_VERSION = 1
_HEADERS = 64
"""Headers that are compared before an index is believed."""
_TAIL = 2**16
"""Bytes at the end that are compared too."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_RECORDS = {dict, type(None)}

_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip --keep"),
    b"BZh": ("bzip2", "bunzip2 --keep"),
    b"\xfd7zXZ": ("xz", "unxz --keep"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd"),
}
_BROKEN = (tarfile.TarError, ValueError, IndexError, OverflowError, MemoryError, RecursionError)
"""What `tarfile` raises on hostile headers, besides its own errors."""


class TarEntry(NamedTuple):
    """A regular file in a tar: its name, where its bytes begin, how many they are."""

    name: str
    offset: int
    size: int


class IndexedSample(NamedTuple):
    """Files of a tar that stand beside each other and make a sample.

    Attributes:
        key: what their names begin with.
        fields: what they end with, in their order.
        record: what the json among them holds; None where it is to be read from the tar.
    """

    key: str
    fields: tuple[str, ...]
    record: Mapping[str, Any] | None


class Listing(NamedTuple):
    """The contents of a tar.

    Attributes:
        entries: its regular files with harmless names, in its order.
        skipped: what was left out.
        packed: it was written by `deixis.data.writers.pack`.
        samples: what the entries make, all of them and in their order; empty where nobody has looked yet.
    """

    entries: tuple[TarEntry, ...]
    skipped: tuple[Skipped, ...] = ()
    packed: bool = False
    samples: tuple[IndexedSample, ...] = ()


def index_path(tar: Path) -> Path:
    """Where the index of a tar lies: `shard-000000.idx.json` beside `shard-000000.tar`."""
    return tar.with_name(f"{tar.name.removesuffix('.tar')}.idx.json")


def listing(tar: Path) -> Listing:
    """Lists a tar, from the index beside it where that fits, else by a walk; the index is then written, where the
    folder lets it.

    Raises:
        DeixisError: it is compressed, or no tar.
        OSError: it can't be read.
    """
    indexed = _from_index(tar)
    if indexed is not None:
        return indexed
    found = _walk(tar)
    with contextlib.suppress(OSError):
        write_index(tar, found)
    return found


def is_packed(tar: Path) -> bool:
    """Whether a tar is one that `deixis.data.writers.pack` wrote, as its index says."""
    indexed = _from_index(tar)
    return indexed is not None and indexed.packed


# The walk


def _walk(tar: Path) -> Listing:
    entries: list[TarEntry] = []
    skipped: list[Skipped] = []
    size = tar.stat().st_size
    with open(tar, "rb") as file:
        _refuse_compressed(tar, file.read(8))
        file.seek(0)
        try:
            archive = tarfile.open(fileobj=file, mode="r:", errors="surrogateescape")  # noqa: SIM115
        except _BROKEN as error:
            raise DeixisError(
                f"{full_path(tar)} is not a tar archive ({error}).", "Leave it out, or copy or download it again."
            ) from error
        fault = _members(archive, size, entries, skipped) or _end(file, archive.offset, size)
    if fault:
        skipped.append(Skipped("", "shard is cut short or damaged", fault))
    return Listing(tuple(entries), tuple(skipped))


def _refuse_compressed(tar: Path, head: bytes) -> None:
    for magic, (name, command) in _COMPRESSED.items():
        if head.startswith(magic):
            raise DeixisError(
                f"{full_path(tar)} is compressed ({name}), and only a plain tar can be read at any place.",
                f"Unpack it to a plain tar: {command} {full_path(tar)}",
            )


def _members(archive: tarfile.TarFile, size: int, entries: list[TarEntry], skipped: list[Skipped]) -> str:
    """Collects the members up to the end or the first fault, and returns that fault in words."""
    while True:
        archive.members = []  # type: ignore[attr-defined]  # else it keeps all of them
        try:
            info = archive.next()
        except _BROKEN as error:
            return f"after {len(entries)} files: {excerpt(str(error)) or type(error).__name__}"
        if info is None:
            return ""
        if info.size < 0 or archive.offset <= info.offset:  # a size below nothing would lead round and round
            return f"after {len(entries)} files: a header with a size below nothing"
        plain = info.isreg() and info.sparse is None
        end = max(archive.offset - _BLOCK + 1, info.offset_data + info.size if plain else 0)
        if end > size:
            return f"{excerpt(info.name)} ends at byte {end:,} of {size:,}"
        reason = _kind_fault(info) or _name_fault(info.name)
        if reason:
            skipped.append(Skipped(excerpt(info.name, 200), reason))
        elif plain:
            entries.append(TarEntry(info.name, info.offset_data, info.size))


def _kind_fault(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "is a link"
    if info.sparse is not None:
        return "is a sparse file"
    return "" if info.isfile() or info.isdir() else "is a device or a pipe"


def _name_fault(name: str) -> str:
    if not is_text(name):
        return "name is not UTF-8"
    if _CONTROL.search(name):
        return "name holds control characters"
    if name.startswith("/") or ".." in name.split("/"):
        return "name leads out of the archive"
    return ""


def _end(file: BinaryIO, offset: int, size: int) -> str:
    """`tarfile` takes the first block that is no header for the end; whether it is one."""
    file.seek(offset)
    block = file.read(_BLOCK)
    if not block:
        return f"no end mark at byte {size:,}"
    return "" if not any(block) else f"no header at byte {offset:,} of {size:,}"


# The index


def write_index(tar: Path, found: Listing) -> None:
    """Writes the index of a tar beside it: names, offsets, sizes, and what it takes to see that they fit.

    Raises:
        OSError: the folder can't be written to.
    """
    size = tar.stat().st_size
    with open(tar, "rb") as file:
        index = {
            "format": _FORMAT,
            "version": _VERSION,
            "size": size,
            "fingerprint": _fingerprint(file, size, found.entries),
            "packed": found.packed,
            "skipped": [[item.path, item.reason, item.detail] for item in found.skipped],
            "entries": found.entries,
        }
    if found.samples:
        layouts = {fields: number for number, fields in enumerate(dict.fromkeys(each.fields for each in found.samples))}
        index["layouts"] = [*layouts]
        index["samples"] = [(key, layouts[fields], _storable(record)) for key, fields, record in found.samples]
    with atomic_path(index_path(tar)) as temporary:
        temporary.write_text(json.dumps(index, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def _storable(record: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """A record, unless UTF-8 has no form for it, as for half a surrogate pair."""
    return record if is_text(json.dumps(record, ensure_ascii=False)) else None


def _fingerprint(file: BinaryIO, size: int, entries: Sequence[TarEntry]) -> str:
    """A hash of some headers, and of the end: a file that is appended stands where the padding was, and the size may be
    the same."""
    step = max(1, -(-len(entries) // _HEADERS))
    digest = hashlib.sha256(os.pread(file.fileno(), _TAIL, max(0, size - _TAIL)))
    for entry in entries[::step]:
        digest.update(os.pread(file.fileno(), _BLOCK, entry.offset - _BLOCK))
    return digest.hexdigest()


def _from_index(tar: Path) -> Listing | None:
    """What the index says, unless it is missing, damaged or of another tar."""
    size = tar.stat().st_size
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, RecursionError, MemoryError):
        path = index_path(tar)
        if path.stat().st_size > size + 2**20:
            return None
        data = path.read_bytes()
        index: Any = json.loads(data)
        if (index["format"], index["version"], index["size"]) != (_FORMAT, _VERSION, size):
            return None
        entries = _entries(size, index["entries"])
        skipped = tuple(Skipped(*map(_word, each)) for each in index["skipped"])
        with open(tar, "rb") as file:
            if _fingerprint(file, size, entries) == index["fingerprint"]:
                # A tar that was changed in place may have another record under the same header.
                fresh = (
                    path.stat().st_mtime_ns >= tar.stat().st_mtime_ns and b"\\ud" not in data and b"\\uD" not in data
                )
                samples = _samples(index, entries) if fresh else ()
                return Listing(entries, skipped, index["packed"] is True, samples)
    return None


def _entries(archive: int, rows: Sequence[Sequence[Any]]) -> tuple[TarEntry, ...]:
    """The entries of an index, if they can be those of an archive of so many bytes."""
    found = tuple(map(TarEntry._make, rows))
    names, offsets, sizes = zip(*found, strict=True) if found else ((), (), ())
    fits = {*map(type, names)} <= {str} and {*map(type, offsets), *map(type, sizes)} <= {int}
    fits = fits and min(offsets, default=_BLOCK) >= _BLOCK and min(sizes, default=0) >= 0
    if not fits or max(map(operator.add, offsets, sizes), default=0) > archive or not _are_harmless(names):
        raise ValueError("entries of another archive")
    return found


def _are_harmless(names: Sequence[str]) -> bool:
    """Whether `_name_fault` has nothing against any of many names, most of which are plain."""
    joined = "\n".join(names)
    plain = ".." not in joined and "\n/" not in f"\n{joined}" and is_text(joined)
    if plain and len(_CONTROL.findall(joined)) == max(0, len(names) - 1):
        return True
    return not any(map(_name_fault, names))


def _samples(index: Mapping[str, Any], entries: Sequence[TarEntry]) -> tuple[IndexedSample, ...]:
    """The samples of an index, if their files are its entries; else none, and the archive says what they are."""
    with contextlib.suppress(TypeError, ValueError, KeyError, IndexError):
        layouts = [tuple(fields) for fields in index["layouts"]]  # nearly all samples have the same
        keys, numbers, records = zip(*index["samples"], strict=True)
        known = {*map(type, keys)} <= {str} and {*map(type, numbers)} <= {int} and {*map(type, records)} <= _RECORDS
        if known and min(numbers) >= 0:
            found = tuple(map(IndexedSample, keys, map(layouts.__getitem__, numbers), records))
            if [f"{key}.{field}" for key, fields, _ in found for field in fields] == [each.name for each in entries]:
                return found
    return ()


def _word(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(text)
    return excerpt(text, 300)
