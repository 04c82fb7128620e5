"""An index: the vectors of a collection, what they stand for, and who made them, in one folder.

An `Index` is read-only and knows nothing of changes: `changes` builds one, adds and removes. See `folder` for the
files, `exact` for how the search goes, `filters` for conditions on what the items say.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.indexing import exact, filters, near
from deixis.indexing.exact import Hits
from deixis.indexing.folder import FORMAT, MANIFEST, damaged, files_named, manifest_bytes, parse_manifest
from deixis.indexing.segments import Segment, compare_size, live_rows, load, opened, unit

__all__ = ["FORMAT", "Hits", "Index"]

_QUERIES = 512  # queries that are scored at once
_MASKS = 32  # answers of `where` that are kept
_TRIES = 20  # a writer that replaces the manifest while it is read, each time anew


@dataclasses.dataclass(frozen=True, eq=False)
class Index:
    """An opened index.

    A row is the number of a vector and its item, from 0 to `rows` - 1; rows that were removed keep theirs, and are
    never answered. Numbers hold as long as this object, not beyond a change of the folder.

    Attributes:
        folder: where it lies.
        manifest: who made it, when, of what size; see `folder`.
        segments: its vectors and items, mapped.
        live: which rows were not removed; None where none was.
        source: the manifest's bytes.
    """

    folder: Path
    manifest: Mapping[str, Any]
    segments: tuple[Segment, ...] = dataclasses.field(repr=False)
    live: Bool[np.ndarray, " N"] | None = dataclasses.field(default=None, repr=False)
    source: bytes = dataclasses.field(default=b"", repr=False)
    _masks: dict[tuple[str, ...], Any] = dataclasses.field(default_factory=dict, init=False, repr=False)

    @classmethod
    def open(cls, folder: str | os.PathLike[str], verify: bool = False) -> Index:
        """Opens an index and checks that its files fit together.

        A change by another process meanwhile does no harm: the index is opened as it is before or after.

        Args:
            folder: as given to `changes.build`.
            verify: also read all files whole and compare their hashes, about a second a gigabyte.

        Raises:
            DeixisError: there is no index, a newer version of deixis made it, or a file is damaged (and which).
        """
        path = Path(folder)
        for _ in range(_TRIES):
            source = manifest_bytes(path)
            try:
                index = _opened(path, source, verify)
            except DeixisError:
                if manifest_bytes(path) == source:
                    raise
            else:
                if manifest_bytes(path) == source:
                    return index
        raise DeixisError(f"The index {path} is being changed all the time.", "Wait a little, then run this again.")

    def __len__(self) -> int:
        return int(self.manifest["count"])

    @property
    def rows(self) -> int:
        """How many rows there are, the removed ones too."""
        return sum(map(len, self.segments))

    @property
    def width(self) -> int:
        """Of a vector."""
        return int(self.manifest["width"])

    @property
    def engine(self) -> str:
        """What embedded its pictures in place of torch, such as `onnxruntime 1.32.0`; empty where nothing did."""
        compute = self.manifest.get("compute")
        return str(compute.get("engine", "")) if isinstance(compute, dict) else ""

    @functools.cached_property
    def vectors(self) -> Float[np.ndarray, "N D"]:
        """All rows, the removed ones too: a memory map of an index with one segment of whole vectors, else a copy."""
        parts = [self.whole(segment.vectors) for segment in self.segments]
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([np.zeros((0, self.width), self.manifest["dtype"]), *parts])

    @functools.cached_property
    def directions(self) -> Float32[np.ndarray, "D R"] | None:
        """Of what the stored numbers are coordinates; None where they are the vectors.

        Raises:
            DeixisError: the file is damaged.
        """
        name = self.manifest.get("directions")
        if name is None:
            return None
        place, shape = self.folder / name, (self.width, self.manifest["dims"])
        compare_size(place, self.manifest["files"][name]["bytes"])
        found = load(place)
        if not isinstance(found, np.ndarray) or found.dtype != np.float32 or found.shape != shape:
            raise damaged(place, "holds no such directions")
        return found

    def whole(self, stored: Float[np.ndarray, "N R"]) -> Float[np.ndarray, "N D"]:
        """Vectors of what is stored of them.

        Args:
            stored: rows of segments.
        """
        if self.directions is None:
            return stored
        return np.asarray(stored, np.float32) @ self.directions.T

    @property
    def row_numbers(self) -> Int64[np.ndarray, " N"]:
        """Of the rows that were not removed."""
        return np.arange(self.rows) if self.live is None else np.flatnonzero(self.live)

    def live_vectors(self) -> Iterator[tuple[Int64[np.ndarray, " N"], Float[np.ndarray, "N D"]]]:
        """Rows that were not removed, block by block: their numbers, and their vectors."""
        for rows, stored in live_rows(self.segments, self.live):
            yield rows, self.whole(stored)

    def changed(self) -> bool:
        """Whether the folder has been changed since it was opened; then open it again."""
        return manifest_bytes(self.folder) != self.source

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

    def _place(self, row: int) -> tuple[Segment, int]:
        """The segment of a row, and its place in it."""
        if not 0 <= row < self.rows:
            raise DeixisError(f"The index {self.folder} has no row {row}.", f"Rows go from 0 to {self.rows - 1}.")
        if self.live is not None and not self.live[row]:
            raise DeixisError(f"Row {row} of the index {self.folder} was removed.", "Search again.")
        segment = next(each for each in self.segments if row < each.start + len(each))
        return segment, row - segment.start

    def item(self, row: int) -> dict[str, Any]:
        """What a row stands for, as it was given.

        Raises:
            DeixisError: there is no such row, it was removed, or its line is no JSON object.
        """
        segment, place = self._place(row)
        return segment.lines.item(place)

    def items(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """All rows that were not removed, with their items."""
        for segment in self.segments:
            for row, item in enumerate(segment.lines.items(), segment.start):
                if self.live is None or self.live[row]:
                    yield row, item

    def vector(self, row: int) -> Float32[np.ndarray, " D"]:
        """The vector of a row, of length 1.

        Raises:
            DeixisError: there is no such row, or it was removed.
        """
        segment, place = self._place(row)
        return np.array(self.whole(segment.vectors[place][None])[0], np.float32)

    def sample(self, count: int) -> Float32[np.ndarray, "N D"]:
        """So many vectors, spread evenly over the rows that were not removed; all of them where there are fewer."""
        rows = self.row_numbers
        if len(rows) > count:
            rows = rows[np.linspace(0, len(rows) - 1, count).round().astype(np.int64)]
        parts = [
            self.whole(each.vectors[rows[(rows >= each.start) & (rows < each.start + len(each))] - each.start])
            for each in self.segments
        ]
        return np.concatenate([np.zeros((0, self.width), np.float32), *(np.asarray(p, np.float32) for p in parts)])

    def row_of(self, id: str) -> int:
        """The row of the item with this id.

        Raises:
            DeixisError: there is none.
        """
        text = json.dumps(id).encode("ascii")
        for segment in self.segments:
            for place in segment.lines.holding(text):
                row = segment.start + place
                if (self.live is None or self.live[row]) and segment.lines.item(place).get("id") == id:
                    return row
        raise DeixisError(f"The index {self.folder} has no item with the id {id!r}.", "Look into items.jsonl for ids.")

    def rows_of(self, digest: str) -> list[int]:
        """The rows of the items whose content has this hash: more than one where there are copies."""
        found, text = list[int](), json.dumps(digest).encode("ascii")
        for segment in self.segments:
            for place in segment.lines.holding(text):
                row = segment.start + place
                if (self.live is None or self.live[row]) and segment.lines.item(place).get("hash") == digest:
                    found.append(row)
        return found

    def where(self, conditions: Sequence[str]) -> Bool[np.ndarray, " N"]:
        """Which rows meet all conditions on what their items say; see `filters`.

        The answers to the last questions are kept, since finding them means reading all items: some seconds a million.

        Args:
            conditions: such as `label=bird`, `label!=bird`, `year>=2020`, `captions~red` (contains).

        Raises:
            DeixisError: a condition that can't be read, or a column that no item has.
        """
        key = tuple(conditions)
        mask = self._masks.get(key)
        if mask is None:
            mask = filters.matching(self.segments, self.live, conditions)
            mask.setflags(write=False)
            if len(self._masks) >= _MASKS:
                self._masks.clear()
            self._masks[key] = mask
        return mask

    def near(self, threshold: float) -> list[tuple[int, int, float]]:
        """Pairs of rows with at least this similarity, best first: the same picture twice, or nearly.

        Args:
            threshold: a cosine similarity.

        Raises:
            DeixisError: it is none, or there are more pairs than can be listed.
        """
        return near.pairs(self.segments, self.live, threshold)

    def search(
        self,
        queries: Float[np.ndarray, "Q D"] | Float[np.ndarray, " D"],
        k: int = 10,
        *,
        where: Bool[np.ndarray, " N"] | None = None,
        block: int | None = None,
    ) -> Hits:
        """The k rows of highest cosine similarity, exactly; equal scores in the order of rows.

        Args:
            queries: one vector a row, of any length but zero; a single vector counts as one row [Q, D].
            k: answers wanted; where fewer rows can be answered, all of them.
            where: which rows may be answered, one value a row, as `where` gives; removed ones never are.
            block: rows that are scored at once; a matter of speed and memory only.

        Raises:
            DeixisError: another width, a query without direction, k or block below 1, or a mask of another length.
        """
        asked = np.atleast_2d(queries)
        self._refuse(asked, k, where, block)
        wanted = self.live if where is None else where if self.live is None else where & self.live
        k = min(k, self.rows if wanted is None else int(np.count_nonzero(wanted)))
        prepared = unit(asked, "Query")
        if self.directions is not None:
            prepared = prepared @ self.directions
        if not len(prepared) or not k:
            return Hits(np.zeros((len(prepared), k), np.float32), np.zeros((len(prepared), k), np.int64))
        parts = []
        for start in range(0, len(prepared), _QUERIES):
            some = prepared[start : start + _QUERIES]
            parts.append(exact.search_blocks(exact.blocks(self.segments, wanted, len(some), block, True), some, k))
        return parts[0] if len(parts) == 1 else Hits(*map(np.concatenate, zip(*parts, strict=True)))

    def _refuse(self, asked: np.ndarray, k: int, where: np.ndarray | None, block: int | None) -> None:
        if asked.shape[1] != self.width:
            raise DeixisError(
                f"The query has {asked.shape[1]} numbers, the vectors of the index {self.folder} have {self.width}.",
                f"Encode it with the model that made the index, {self.manifest['model']!r}.",
            )
        if k < 1 or (block is not None and block < 1):
            raise DeixisError(f"k is {k} and block is {block}.", "Both must be at least 1.")
        if where is not None and len(where) != self.rows:
            raise DeixisError(
                f"The mask has {len(where)} values, the index {self.folder} {self.rows} rows.",
                "Take it from `where` of this very index: a change of the folder changes the rows.",
            )


def _opened(path: Path, source: bytes, verify: bool) -> Index:
    manifest = parse_manifest(path, source)
    segments = opened(path, manifest)
    if verify:
        for name in sorted(files_named(manifest)):
            if content_hash(path / name) != manifest["files"][name]["sha256"]:
                raise damaged(path / name, f"its contents have changed since {manifest['changed']}")
    return Index(path, manifest, segments, _live(path, manifest), source)


def _live(path: Path, manifest: Mapping[str, Any]) -> Bool[np.ndarray, " N"] | None:
    """Which rows the manifest, or the file it names, does not count as removed."""
    removed = manifest["removed"]
    live = np.ones(sum(each["count"] for each in manifest["segments"]), bool)
    if isinstance(removed, str):
        place = path / removed
        compare_size(place, manifest["files"][removed]["bytes"])
        removed = load(place)
        if not (isinstance(removed, np.ndarray) and removed.dtype == np.int64 and removed.ndim == 1):
            raise damaged(place, "holds no row numbers")
        if not ((removed >= 0) & (removed < len(live))).all():
            raise damaged(place, "names rows that do not exist")
    if not len(removed):
        return None
    live[removed] = False
    if np.count_nonzero(live) != manifest["count"]:
        raise damaged(path / (manifest["removed"] if isinstance(manifest["removed"], str) else MANIFEST), "wrong count")
    return live
