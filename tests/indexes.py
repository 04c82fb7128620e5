"""Indexes for tests: small ones on the disk, ones in memory, and a full sort to compare a search with."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deixis.indexing.changes import build
from deixis.indexing.index import Index
from deixis.indexing.products.codes import Codes, encode
from deixis.indexing.segments import Lines, Segment, unit


def random(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def named(*ids: str, **more: Any) -> list[dict[str, Any]]:
    """Items of these ids."""
    return [{"id": id, "path": f"{id}.png", **more} for id in ids]


def made(folder: Path, vectors: np.ndarray, **options: Any) -> Index:
    """An index on the disk whose items are called image-0, image-1..."""
    items = [{"id": f"image-{row}", "path": f"{row}.png", "captions": [f"number {row}"]} for row in range(len(vectors))]
    return build(folder, vectors, items, **{"model": "starter", "fingerprint": "abc123"} | options)


def stored_as(vectors: np.ndarray, dtype: str) -> np.ndarray:
    """Vectors as an index of some format holds them; beside codes they are whole."""
    return unit(vectors, "Vector").astype("float32" if dtype == "int8" else dtype)


def in_memory(
    vectors: np.ndarray, dtype: str = "float32", cuts: Sequence[int] = (), live: np.ndarray | None = None
) -> Index:
    """An index of no folder, in segments that begin at `cuts`."""
    stored, edges = stored_as(vectors, dtype), [0, *cuts, len(vectors)]
    segments = tuple(
        Segment(
            start,
            part := stored[start:stop],
            Lines(Path("nowhere"), stop - start, b""),
            Codes(*encode(part), part) if dtype == "int8" else None,
        )
        for start, stop in itertools.pairwise(edges)
    )
    count = len(vectors) if live is None else int(live.sum())
    manifest = {"model": "starter", "width": vectors.shape[1], "count": count, "dtype": dtype}
    return Index(Path("nowhere"), manifest, segments, live)


def full_sort(
    vectors: np.ndarray, queries: np.ndarray, k: int, dtype: str = "float32", wanted: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """All scores in float64, rounded once to float32; sorted by score, then by row."""
    stored = stored_as(vectors, dtype).astype(float)
    asked = unit(queries, "Query").astype(float)
    scores = np.array([[np.float32((row * query).sum()) for row in stored] for query in asked])
    count = np.flatnonzero(np.ones(len(stored), bool) if wanted is None else wanted).tolist()
    rows = np.array([sorted(count, key=lambda row: (-line[row], row))[:k] for line in scores], np.int64)
    return np.take_along_axis(scores, rows, 1), rows


def same(found: tuple[np.ndarray, np.ndarray], expected: tuple[np.ndarray, np.ndarray]) -> None:
    """Equal rows and equal scores, to the last bit."""
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
