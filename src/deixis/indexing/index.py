"""An index is one folder: the vectors, what they stand for, and who made them.

    vectors.npy     float32 [N, D], rows of length 1, read through a memory map
    items.jsonl     one JSON object a row, in the same order: id, path, captions, whatever a caller wants back
    manifest.json   format, model, fingerprint, count, width, sha256 of the two files, created

Search is exact: blocks are scored in float32, what could be among the first k is scored again, row by row, in float64.
So the answer depends neither on the block nor on what else is asked at the same time, and equal vectors score equally.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64

from deixis.errors import DeixisError
from deixis.files import atomic_folder, content_hash, write_json

__all__ = ["FORMAT", "Hits", "Index", "build"]

FORMAT = 1
_VECTORS, _ITEMS, _MANIFEST = "vectors.npy", "items.jsonl", "manifest.json"
_KEYS = {"format": int, "model": str, "fingerprint": str, "count": int, "width": int, "sha256": dict, "created": str}
_ROWS = 65536  # vectors that are normalised and written at once
_QUERIES = 256  # queries that are scored at once


class Hits(NamedTuple):
    """The best answers of each query, best first: cosine similarities and rows of the index."""

    scores: Float32[np.ndarray, "Q k"]
    rows: Int64[np.ndarray, "Q k"]


def build(
    folder: str | os.PathLike[str],
    vectors: Float[np.ndarray, "N D"],
    items: Sequence[Mapping[str, Any]],
    *,
    model: str,
    fingerprint: str,
) -> Index:
    """Writes an index folder, whole or not at all, and opens it. An index that is there already is replaced.

    Args:
        folder: where it goes.
        vectors: one a row, brought to length 1 here [N, D]; may be a memory map.
        items: what each row stands for, as JSON objects; paths become strings.
        model: name of the model that made the vectors.
        fingerprint: of that model, see `Index.expect`.

    Raises:
        DeixisError: nothing to index, counts that differ, a vector without direction, or a folder that holds
            something else.
    """
    target = Path(folder)
    if not len(items):
        raise DeixisError("There is nothing to index: no items were given.", "Give at least one.")
    if len(vectors) != len(items):
        raise DeixisError(f"{len(vectors)} vectors were given for {len(items)} items.", "Give one vector an item.")
    _refuse_foreign(target)
    with atomic_folder(target) as part:
        _write_vectors(part / _VECTORS, vectors)
        _write_items(part / _ITEMS, items)
        manifest = {
            "format": FORMAT,
            "model": model,
            "fingerprint": fingerprint,
            "count": len(items),
            "width": vectors.shape[1],
            "sha256": {name: content_hash(part / name) for name in (_VECTORS, _ITEMS)},
            "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        }
        write_json(part / _MANIFEST, manifest)
    return Index.open(target, verify=False)


def _refuse_foreign(target: Path) -> None:
    if target.is_dir() and {entry.name for entry in target.iterdir()} <= {_VECTORS, _ITEMS, _MANIFEST}:
        return
    if target.exists() or target.is_symlink():
        raise DeixisError(f"{target} is there already and is no index, so it is not replaced.", "Name another folder.")


def _write_vectors(path: Path, vectors: Float[np.ndarray, "N D"]) -> None:
    # Not through a memory map, where a full disk kills the process.
    header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.float32)), "fortran_order": False}
    with open(path, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "shape": vectors.shape})
        for start in range(0, len(vectors), _ROWS):
            file.write(_unit(vectors[start : start + _ROWS], "Vector", start).tobytes())


def _unit(vectors: Float[np.ndarray, "N D"], what: str, start: int = 0) -> Float32[np.ndarray, "N D"]:
    """Rows of length 1, or an error that names the first row that has no direction."""
    wide = vectors.astype(np.float64)
    largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    bad = ~(np.isfinite(largest[:, 0]) & (largest[:, 0] > 0))
    if bad.any():
        first = int(np.argmax(bad))
        found = "is all zeros" if np.isfinite(largest[first, 0]) else "holds NaN or infinity"
        raise DeixisError(f"{what} {start + first} {found}: it points nowhere.", "Encode it again, or leave it out.")
    wide /= largest
    wide /= np.sqrt((wide * wide).sum(axis=1, keepdims=True))
    return wide.astype(np.float32)


def _write_items(path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    # ASCII only, since a file name that is no UTF-8 reaches Python as lone surrogates, which can't be encoded.
    with open(path, "w", encoding="ascii", newline="\n") as file:
        for item in items:
            file.write(json.dumps(dict(item), allow_nan=False, default=os.fspath) + "\n")


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """An opened index; see the module for its files.

    Attributes:
        folder: where it lies.
        vectors: rows of length 1 [N, D], memory-mapped.
        manifest: who made it, when, of what size.
        lines: the items, not yet parsed; use `item`.
    """

    folder: Path
    vectors: Float32[np.ndarray, "N D"]
    manifest: Mapping[str, Any]
    lines: Sequence[bytes] = dataclasses.field(repr=False)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], verify: bool = True) -> Index:
        """Opens an index and checks that its files fit together.

        Args:
            folder: as given to `build`.
            verify: also read both files whole and compare their hashes, about a second a gigabyte.

        Raises:
            DeixisError: there is no index, a newer version of deixis made it, or a file is damaged (and which).
        """
        path = Path(folder)
        manifest = _read_manifest(path)
        data = _read(path / _ITEMS)
        lines = data.split(b"\n")[:-1]
        if len(lines) != manifest["count"]:
            raise _damaged(path / _ITEMS, f"{len(lines)} whole lines, {manifest['count']} expected")
        vectors = _map_vectors(path / _VECTORS, (manifest["count"], manifest["width"]))
        if verify:
            _compare_hash(path / _ITEMS, hashlib.sha256(data).hexdigest(), manifest)
            _compare_hash(path / _VECTORS, content_hash(path / _VECTORS), manifest)
        return cls(path, vectors, manifest, lines)

    def __len__(self) -> int:
        return len(self.vectors)

    def item(self, row: int) -> dict[str, Any]:
        """What a row stands for, as it was given to `build`.

        Raises:
            DeixisError: the line of that row is no JSON object.
        """
        try:
            item = json.loads(self.lines[row])
        except ValueError:
            item = None
        if not isinstance(item, dict):
            raise _damaged(self.folder / _ITEMS, f"line {row + 1} is no JSON object")
        return item

    def expect(self, fingerprint: str) -> None:
        """Refuses queries of another model, whose vectors mean something else.

        Raises:
            DeixisError: the index was made by a model with another fingerprint.
        """
        made = self.manifest["fingerprint"]
        if made != fingerprint:
            raise DeixisError(
                f"The index {self.folder} was made by the model {self.manifest['model']!r} ({made[:12]}), the query by "
                f"another ({fingerprint[:12]}): their vectors can't be compared.",
                "Search with the model that made it, or make the index again with this one.",
            )

    def search(
        self, queries: Float[np.ndarray, "Q D"] | Float[np.ndarray, " D"], k: int = 10, block: int = _ROWS
    ) -> Hits:
        """The k rows of highest cosine similarity, exactly; equal scores in the order of rows.

        Args:
            queries: one vector a row, of any length but zero; a single vector counts as one row [Q, D].
            k: answers wanted; an index with fewer rows gives all of them.
            block: rows that are scored at once; a matter of speed and memory only.

        Raises:
            DeixisError: another width, a query without direction, or k or block below 1.
        """
        asked = np.atleast_2d(queries)
        if asked.shape[1] != self.vectors.shape[1]:
            raise DeixisError(
                f"The query has {asked.shape[1]} numbers, the vectors of the index {self.folder} have "
                f"{self.vectors.shape[1]}.",
                f"Encode it with the model that made the index, {self.manifest['model']!r}.",
            )
        if k < 1 or block < 1:
            raise DeixisError(f"k is {k} and block is {block}.", "Both must be at least 1.")
        unit = _unit(asked, "Query")
        parts = [
            _search(self.vectors, unit[start : start + _QUERIES], min(k, len(self)), block)
            for start in range(0, max(len(unit), 1), _QUERIES)
        ]
        return Hits(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _search(vectors: np.ndarray, queries: np.ndarray, k: int, block: int) -> Hits:
    count, width = queries.shape
    # Twice the bound on a float32 dot product of unit vectors in any order of summation, plus the rounding of scores.
    margin = np.float32(2 * (width + 8) * 2.0**-24)
    best = Hits(np.full((count, k), -np.inf, np.float32), np.full((count, k), -1, np.int64))
    for start in range(0, len(vectors), block):
        rows = np.asarray(vectors[start : start + block])
        rough = queries @ rows.T
        for query in np.flatnonzero(rough.max(axis=1) >= best.scores[:, -1] - margin).tolist():
            near = _candidates(rough[query], k, best.scores[query, -1], margin)
            scores = _exact(rows, near, queries[query])
            _merge(best, query, scores, near + start)
    return best


def _candidates(rough: np.ndarray, k: int, worst: np.float32, margin: np.float32) -> np.ndarray:
    """Rows of a block that could be among the first k: near or above the k-th score, here and so far."""
    if len(rough) > k:
        worst = max(worst, np.partition(rough, len(rough) - k)[len(rough) - k])
    return np.flatnonzero(rough >= worst - margin)


def _exact(rows: np.ndarray, chosen: np.ndarray, query: np.ndarray) -> np.ndarray:
    wide = query.astype(np.float64)
    scores = np.empty(len(chosen), np.float32)
    for start in range(0, len(chosen), 4096):
        part = chosen[start : start + 4096]
        scores[start : start + 4096] = (rows[part].astype(np.float64) * wide).sum(axis=1)
    return scores


def _merge(best: Hits, query: int, scores: np.ndarray, rows: np.ndarray) -> None:
    k = best.rows.shape[1]
    scores = np.concatenate([best.scores[query], scores])
    rows = np.concatenate([best.rows[query], rows])
    order = np.lexsort((rows, -scores))[:k]
    best.scores[query], best.rows[query] = scores[order], rows[order]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _damaged(path, error.strerror or "can't be read") from error


def _damaged(path: Path, why: str) -> DeixisError:
    return DeixisError(f"The index file {path} is damaged ({why}).", "Make the index again: deixis index DATA")


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / _MANIFEST
    if not path.is_file():
        raise DeixisError(f"{folder} is no index: it has no {_MANIFEST}.", "Make one: deixis index DATA")
    try:
        manifest = json.loads(_read(path))
    except ValueError as error:
        raise _damaged(path, "no JSON") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise _damaged(path, "no format version")
    if manifest["format"] != FORMAT:
        raise DeixisError(
            f"The index {folder} has format {manifest['format']}, this version of deixis reads format {FORMAT}.",
            "Upgrade deixis (pip install -U deixis), or make the index again: deixis index DATA",
        )
    wrong = [key for key, kind in _KEYS.items() if not isinstance(manifest.get(key), kind)]
    if wrong or min(manifest["count"], manifest["width"]) < 1:
        raise _damaged(path, f"bad or missing: {', '.join(wrong) or 'count, width'}")
    return manifest


def _map_vectors(path: Path, shape: tuple[int, int]) -> Float32[np.ndarray, "N D"]:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(path, "missing, or cut short") from error
    if not isinstance(vectors, np.memmap) or vectors.dtype != np.float32 or vectors.shape != shape:
        held = f"{vectors.dtype} {list(vectors.shape)}" if isinstance(vectors, np.ndarray) else "an archive"
        raise _damaged(path, f"holds {held}, float32 {list(shape)} expected")
    return vectors


def _compare_hash(path: Path, found: str, manifest: Mapping[str, Any]) -> None:
    if manifest["sha256"].get(path.name) != found:
        raise _damaged(path, f"its contents have changed since {manifest['created']}")
