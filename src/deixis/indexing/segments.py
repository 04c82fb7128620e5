"""Segments of an index: a file of vectors and a file of items that belong together, written once and then mapped."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int64

from deixis.errors import DeixisError
from deixis.indexing.folder import damaged
from deixis.indexing.products.codes import Codes, RowReader, encode

__all__ = [
    "ROWS",
    "Lines",
    "Segment",
    "compare_size",
    "encoded",
    "live_rows",
    "load",
    "opened",
    "unit",
    "write_codes",
    "write_rows",
    "write_segment",
]

ROWS = 65536
"""Vectors that are normalised, copied or written at once."""

_BYTES = 1 << 24  # searched for line ends at once
_PARSED = 4096  # lines
_WIDE = 256  # vectors in float64 at once


@dataclasses.dataclass(frozen=True, eq=False)
class Lines:
    """The items of a segment: the bytes of a file, mapped and not parsed, and where each line begins.

    Attributes:
        path: the file, for messages.
        count: how many lines it should have.
        data: its bytes.
    """

    path: Path
    count: int
    data: mmap.mmap | bytes = dataclasses.field(repr=False)

    @functools.cached_property
    def ends(self) -> Int64[np.ndarray, " N"]:
        """Where each line ends; found when first asked for, some tenths of a second for a million rows."""
        view, found = np.frombuffer(self.data, np.uint8), []
        for start in range(0, len(view), _BYTES):
            found.append(np.flatnonzero(view[start : start + _BYTES] == ord("\n")) + start)
        ends = np.concatenate([*found, np.zeros(0, np.int64)]).astype(np.int64)
        if len(ends) != self.count:
            raise damaged(self.path, f"{len(ends)} whole lines, {self.count} expected")
        return ends

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> bytes:
        start = int(self.ends[row - 1]) + 1 if row else 0
        return self.data[start : int(self.ends[row])]

    def item(self, row: int) -> dict[str, Any]:
        """The object of a line.

        Raises:
            DeixisError: the line is no JSON object.
        """
        try:
            item = json.loads(self[row])
        except ValueError:
            item = None
        if not isinstance(item, dict):
            raise damaged(self.path, f"line {row + 1} is no JSON object")
        return item

    def items(self) -> Iterator[dict[str, Any]]:
        """All of them, in order; parsed some thousands at a time, which is twice as fast as one by one."""
        for start in range(0, self.count, _PARSED):
            stop = min(start + _PARSED, self.count)
            first = int(self.ends[start - 1]) + 1 if start else 0
            try:
                some = json.loads(b"[%s]" % self.data[first : int(self.ends[stop - 1])].replace(b"\n", b","))
            except ValueError:
                some = []
            if len(some) != stop - start or not all(isinstance(item, dict) for item in some):
                some = map(self.item, range(start, stop))  # which names the line that is wrong
            yield from some

    def holding(self, text: bytes) -> Iterator[int]:
        """The rows whose line holds some bytes, found without parsing."""
        place = self.data.find(text)
        while place >= 0:
            row = int(np.searchsorted(self.ends, place))
            yield row
            place = self.data.find(text, int(self.ends[row]))


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """One segment, opened.

    Attributes:
        start: its first row, counted through the index.
        vectors: rows of length 1, mapped; float32 or float16.
        lines: its items.
        codes: of the vectors, to be scanned in their place, mapped; None where there are none.
    """

    start: int
    vectors: Float[np.ndarray, "N D"]
    lines: Lines
    codes: Codes | None = None

    def __len__(self) -> int:
        return len(self.vectors)


def opened(folder: Path, manifest: Mapping[str, Any]) -> tuple[Segment, ...]:
    """Maps the files of all segments.

    Raises:
        DeixisError: one is missing, cut, or not of the size and kind that the manifest tells.
    """
    segments, start = [], 0
    for entry in manifest["segments"]:
        for kind in ("vectors", "items"):
            compare_size(folder / entry[kind], manifest["files"][entry[kind]]["bytes"])
        shape = (entry["count"], manifest.get("dims") or manifest["width"])
        vectors = _map_vectors(folder / entry["vectors"], shape, np.dtype(manifest["dtype"]))
        lines = Lines(folder / entry["items"], entry["count"], _map_bytes(folder / entry["items"]))
        segments.append(Segment(start, vectors, lines, _codes(folder, manifest, entry, vectors)))
        start += len(vectors)
        if manifest["format"] == 1:  # which told no sizes
            _ = lines.ends
    return tuple(segments)


def _codes(folder: Path, manifest: Mapping[str, Any], entry: Mapping[str, Any], vectors: np.memmap) -> Codes | None:
    """Maps the codes of a segment, where the index has some."""
    if "scan" not in manifest:
        return None
    for kind in ("codes", "scales"):
        compare_size(folder / entry[kind], manifest["files"][entry[kind]]["bytes"])
    codes = _map_vectors(folder / entry["codes"], vectors.shape, np.dtype(np.int8))
    scales = _map_vectors(folder / entry["scales"], vectors.shape[:1], np.dtype(np.float32))
    return Codes(np.asarray(codes), np.asarray(scales), entry["lost"], RowReader(vectors))


def live_rows(
    segments: Iterable[Segment], live: Bool[np.ndarray, " N"] | None
) -> Iterator[tuple[Int64[np.ndarray, " M"], Float[np.ndarray, "M D"]]]:
    """Rows that were not removed, block by block: their numbers in the index, and their vectors as they are stored.

    Args:
        segments: of an index, or some of them.
        live: of all rows of the index, which were not removed; None: all.
    """
    for segment in segments:
        for start in range(0, len(segment), ROWS):
            part = segment.vectors[start : start + ROWS]
            numbers = np.arange(segment.start + start, segment.start + start + len(part))
            if live is not None:
                kept = live[numbers]
                part, numbers = part[kept], numbers[kept]
            yield numbers, part


def compare_size(path: Path, expected: int) -> None:
    """Refuses a file of another size than the manifest tells.

    Raises:
        DeixisError: it is missing, cut short or longer.
    """
    try:
        found = path.stat().st_size
    except OSError as error:
        raise damaged(path, "missing" if isinstance(error, FileNotFoundError) else str(error.strerror)) from error
    if found != expected:
        raise damaged(path, f"{found} bytes, {expected} expected")


def _map_bytes(path: Path) -> mmap.mmap:
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise damaged(path, "missing, or empty") from error


def load(path: Path, mode: Literal["r"] | None = None) -> Any:
    """What a .npy file holds, or the error that names the file; `mode` "r" maps it."""
    try:
        return np.load(path, mmap_mode=mode, allow_pickle=False)
    except Exception as error:  # numpy reads the header as Python, so damage to it raises all kinds
        raise damaged(path, "no header of an array, or cut short") from error


def _map_vectors(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.memmap:
    vectors = load(path, "r")
    if not isinstance(vectors, np.memmap) or vectors.dtype != dtype or vectors.shape != shape:
        held = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else "an archive"
        raise damaged(path, f"holds {held}, {dtype} {list(shape)} expected")
    return vectors


def unit(vectors: Float[np.ndarray, "N D"], what: str, start: int = 0) -> Float[np.ndarray, "N D"]:
    """Rows of length 1, in float32.

    Args:
        vectors: rows of any length but zero.
        what: how a row is called in messages.
        start: the number of the first.

    Raises:
        DeixisError: a row has no direction; the first such is named.
    """
    made = np.empty(vectors.shape, np.float32)
    for first in range(0, len(vectors), _WIDE):
        wide = vectors[first : first + _WIDE].astype(np.float64)
        largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
        if not 0 < largest.min() <= largest.max() < np.inf:  # nor where one is NaN
            bad = int(np.argmax(~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0))))
            found = "is all zeros" if np.isfinite(largest[bad, 0]) else "holds NaN or infinity"
            raise DeixisError(
                f"{what} {start + first + bad} {found}: it has no direction.", "Encode it again, or leave it out."
            )
        wide /= largest
        wide /= np.sqrt((wide * wide).sum(axis=1, keepdims=True))
        made[first : first + _WIDE] = wide
    return made


def encoded(items: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """The line of each item, its id first.

    ASCII only, since a file name that is no UTF-8 reaches Python as lone surrogates, which can't be encoded.
    """
    for item in items:
        ordered = {"id": item["id"], **item} if "id" in item else dict(item)
        yield json.dumps(ordered, allow_nan=False, default=os.fspath).encode("ascii") + b"\n"


def write_segment(
    folder: Path,
    number: int,
    shape: tuple[int, int],
    dtype: str,
    vectors: Iterable[Float[np.ndarray, "_ D"]],
    lines: Iterable[bytes],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Writes the two files of a new segment.

    Args:
        folder: the index folder.
        number: of the segment; 1 gives the plain names.
        shape: how many vectors come, of what width.
        dtype: float32 or float16.
        vectors: blocks of rows of length 1, together as many as announced.
        lines: one an item, with its newline.

    Returns:
        What the manifest says of the segment, and of its files.
    """
    suffix = "" if number == 1 else f"-{number}"
    entry: dict[str, Any] = {"count": shape[0], "vectors": f"vectors{suffix}.npy", "items": f"items{suffix}.jsonl"}
    files = {entry["vectors"]: write_rows(folder / entry["vectors"], shape, np.dtype(dtype), vectors)}
    files[entry["items"]] = _write_items(folder / entry["items"], lines)
    return entry, files


def write_codes(folder: Path, entry: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Writes the codes of a segment that is there; see `codes`.

    Args:
        folder: the index folder.
        entry: what the manifest says of the segment.

    Returns:
        What the manifest says of it then, and of the new files.

    Raises:
        DeixisError: its vectors are not of length 1.
    """
    names = {kind: entry["vectors"].replace("vectors", kind) for kind in ("codes", "scales")}
    stored = load(folder / entry["vectors"], "r")
    scales, lost = np.empty(len(stored), np.float32), 0.0

    def blocks() -> Iterator[np.ndarray]:
        nonlocal lost
        for start in range(0, len(stored), ROWS):
            part = slice(start, start + ROWS)
            codes, scales[part], rest = encode(stored[part], start)
            lost = max(lost, rest)
            yield codes

    files = {names["codes"]: write_rows(folder / names["codes"], stored.shape, np.dtype(np.int8), blocks())}
    files[names["scales"]] = write_rows(folder / names["scales"], scales.shape, scales.dtype, [scales])
    return {**entry, **names, "lost": lost}, files


def write_rows(path: Path, shape: tuple[int, ...], dtype: np.dtype, blocks: Iterable[np.ndarray]) -> dict[str, Any]:
    """Writes a .npy file block by block: not through a memory map, where a full disk kills the process.

    Returns:
        Its size and hash.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with _hashed(path) as file:
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).tobytes())
    return file.facts


def _write_items(path: Path, lines: Iterable[bytes]) -> dict[str, Any]:
    with _hashed(path) as file:
        for line in lines:
            file.write(line)
    return file.facts


class _Hashed:
    """A file that is hashed as it is written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash, self._size = file, hashlib.sha256(), 0

    def write(self, data: bytes) -> None:
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    @property
    def facts(self) -> dict[str, Any]:
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}


@contextlib.contextmanager
def _hashed(path: Path) -> Iterator[_Hashed]:
    """A new file, on the disk when this ends without an error."""
    with open(path, "xb", buffering=1 << 20) as file:
        yield _Hashed(file)
        file.flush()
        os.fsync(file.fileno())
