"""Reads Qt's binary resource files (.rcc), which hold a tree of files, without Qt.

All numbers are big-endian. The header is `qres`, the version, and where tree, data and names start. The tree is a list
of entries of 14 bytes (22 from version 2 on, which adds a time); entry 0 is the root. An entry names itself by an
offset into the names and has flags; a folder then says how many children it has and which is the first, a file where
its bytes lie. These are preceded by their length; compressed with zlib, they start with the length they had before.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from deixis.errors import DeixisError, require

__all__ = ["LIMIT", "read_rcc"]

LIMIT = 500_000_000
"""The most bytes that may come out of one file."""

_ZLIB, _FOLDER, _ZSTD = 1, 2, 4
_DEEPEST = 32


class _Broken(Exception):
    """A number in the file leads nowhere."""


class _Resources(NamedTuple):
    """The bytes of the file and where its parts start."""

    content: bytes
    tree: int
    data: int
    names: int
    entry_size: int

    def numbers(self, form: str, offset: int) -> tuple[int, ...]:
        """Numbers at an offset; a form such as `HI` is of 2 and 4 bytes."""
        try:
            return struct.unpack_from(f">{form}", self.content, offset)
        except struct.error as error:
            raise _Broken(f"nothing lies at byte {offset}") from error

    def stretch(self, offset: int, size: int) -> bytes:
        """Bytes at an offset, all of them there."""
        if offset + size > len(self.content):
            raise _Broken(f"{size} bytes at {offset} lie beyond its end")
        return self.content[offset : offset + size]

    def name(self, offset: int) -> str:
        """The name at an offset; one that could lead out of its folder is refused."""
        length, _ = self.numbers("HI", self.names + offset)
        name = self.stretch(self.names + offset + 6, 2 * length).decode("utf-16-be", errors="replace")
        if name in ("", ".", "..") or set(name) & set("/\\\0:"):
            raise _Broken(f"a file in it is called {name!r}")
        return name

    def entries(self) -> Iterator[tuple[str, int, int]]:
        """Path, flags and offset of the data of each file."""
        waiting, visited = [(0, "", 0)], set()
        while waiting:
            index, path, depth = waiting.pop()
            if index in visited or depth > _DEEPEST:
                raise _Broken("its folders form a ring")
            visited.add(index)
            place = self.tree + index * self.entry_size
            name, flags = self.numbers("IH", place)
            own = f"{path}/{self.name(name)}".lstrip("/") if index else ""
            if not flags & _FOLDER:
                yield own, flags, self.numbers("I", place + 10)[0]
                continue
            count, first = self.numbers("II", place + 6)
            if count * self.entry_size > len(self.content):
                raise _Broken(f"a folder in it claims to hold {count} files")
            waiting += [(child, own, depth + 1) for child in reversed(range(first, first + count))]

    def file(self, flags: int, offset: int, limit: int) -> bytes:
        """The bytes of a file, at most `limit`."""
        (size,) = self.numbers("I", self.data + offset)
        stored = self.stretch(self.data + offset + 4, size)
        return _unpacked(stored, flags, limit)


def read_rcc(path: Path, suffixes: tuple[str, ...], *, limit: int = LIMIT) -> dict[str, bytes]:
    """The files in a resource file, by their paths inside.

    Args:
        path: of the resource file.
        suffixes: of the files wanted, such as `.webp`; nothing else is unpacked.
        limit: the most bytes that may come out.

    Raises:
        DeixisError: it is no resource file, of an unknown version, damaged, or more than `limit` bytes come out; or it
            is compressed with zstd, and the package that reads this is not installed.
    """
    files: dict[str, bytes] = {}
    try:
        resources = _opened(path)
        for name, flags, offset in resources.entries():
            if name.endswith(suffixes):
                files[name] = resources.file(flags, offset, limit)
                limit -= len(files[name])
    except (_Broken, zlib.error) as error:
        raise DeixisError(
            f"The resource file {path.name} is damaged, or of a form that isn't supported: {error}.", "Fetch it again."
        ) from error
    return files


def _opened(path: Path) -> _Resources:
    content = path.read_bytes()
    if content[:4] != b"qres":
        raise _Broken("it does not start with 'qres'")
    parts = _Resources(content, 0, 0, 0, 0)
    version, tree, data, names = parts.numbers("4I", 4)
    if version not in (1, 2, 3):
        raise _Broken(f"its version is {version}, and 1 to 3 are read")
    return _Resources(content, tree, data, names, 14 if version == 1 else 22)


def _unpacked(stored: bytes, flags: int, limit: int) -> bytes:
    if flags & _ZSTD:
        zstandard = require("zstandard", "data", "unpack files that are compressed with zstd")
        try:
            content: bytes = zstandard.ZstdDecompressor().stream_reader(stored).read(limit + 1)
        except zstandard.ZstdError as error:
            raise _Broken(str(error)) from error
    elif flags & _ZLIB:
        unpacker = zlib.decompressobj()
        content = unpacker.decompress(stored[4:], limit + 1)
        if len(content) <= limit and not unpacker.eof:
            raise _Broken("a compressed file in it is cut short")
    else:
        content = stored
    if len(content) > limit:
        raise _Broken("more comes out of it than is allowed")
    return content
