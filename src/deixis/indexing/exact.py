"""Exact search: the rows of highest score, whatever the blocks, the threads and the other queries are.

A block of rows is scored with all queries in float32 by one matrix product. What comes within rounding of a query's
k-th score so far is scored again in float64, row by row, and it is this score that counts, rounded to float32. So the
product may sum in any order, and equal vectors score equally. After a few blocks hardly any row comes near: what is
left of the work is the product and one comparison of its scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float16, Float32, Float64, Int64

from deixis.indexing.segments import Segment

__all__ = ["Hits", "ScoreBlock", "blocks", "margin", "rescored", "search_blocks", "widened"]

_SCORES = 1 << 20  # of a block, in float32: what the second-level cache of a core holds, more or less
_HALVES = 1024  # rows of float16 that are widened at once
_PAIRS = 128  # rows that are scored again at once


class Hits(NamedTuple):
    """The best answers of each query, best first: cosine similarities and rows of the index."""

    scores: Float32[np.ndarray, "Q k"]
    rows: Int64[np.ndarray, "Q k"]


class ScoreBlock(NamedTuple):
    """Rows that are scored together: their vectors, their numbers in the index, places among them that do not count,
    and whether they are stored in half precision."""

    vectors: Float32[np.ndarray, "N D"]
    numbers: Int64[np.ndarray, " N"]
    left_out: Int64[np.ndarray, " _"]
    half: bool

    def product(self, others: Float32[np.ndarray, "Q D"]) -> Float32[np.ndarray, "N Q"]:
        """All scores with other vectors, in float32.

        The threads that have just widened halves are torch's, and numpy's would wait until those sleep, some
        milliseconds a block; so the product of halves is torch's as well.
        """
        if not self.half:
            return self.vectors @ others.T
        import torch

        made: np.ndarray = (torch.from_numpy(self.vectors) @ torch.from_numpy(others).T).numpy()
        return made


class _Lent:
    """Memory that torch reads, and would warn of since it must not write to it."""

    def __init__(self, rows: Float16[np.ndarray, "N D"]) -> None:
        self._rows = rows  # as long as it is read
        self.__array_interface__ = {**rows.__array_interface__, "data": (rows.__array_interface__["data"][0], False)}


def widened(
    vectors: Float[np.ndarray, "N D"], space: Float32[np.ndarray, "_ D"] | None = None
) -> Float32[np.ndarray, "N D"]:
    """Rows in float32; float16 is widened by torch, which has the processor's instruction for it and several threads.

    Args:
        vectors: float32, which stay as they are, or float16.
        space: memory of at least as many rows that is used for the answer.
    """
    if vectors.dtype != np.float16:
        return np.asarray(vectors)
    import torch  # here, since an index of float32 does without it

    wide = np.empty(vectors.shape, np.float32) if space is None else space[: len(vectors)]
    torch.from_numpy(wide).copy_(torch.from_numpy(np.asarray(_Lent(np.ascontiguousarray(vectors)))))
    return wide


def blocks(
    segments: Sequence[Segment], wanted: Bool[np.ndarray, " N"] | None, queries: int, size: int | None = None
) -> Iterator[ScoreBlock]:
    """The wanted rows of all segments, in order; a block of float16 lasts until the next one is asked for.

    Args:
        segments: of the index.
        wanted: which rows count; None is all. Where few of a block do, they alone are gathered.
        queries: how many will be asked at once.
        size: rows of a block; None chooses it by what a cache holds.
    """
    nothing = np.zeros(0, np.int64)
    for segment in segments:
        half = segment.vectors.dtype == np.float16
        step = size or (_HALVES if half else max(1024, _SCORES // max(queries, 16)))
        space = np.empty((min(step, len(segment)), segment.vectors.shape[1]), np.float32) if half else None
        for start in range(0, len(segment), step):
            part = segment.vectors[start : start + step]
            first = segment.start + start
            numbers = np.arange(first, first + len(part))
            if wanted is None or (chosen := wanted[first : first + len(part)]).all():
                yield ScoreBlock(widened(part, space), numbers, nothing, half)
            elif 4 * (count := np.count_nonzero(chosen)) > len(part):
                yield ScoreBlock(widened(part, space), numbers, np.flatnonzero(~chosen), half)
            elif count:
                yield ScoreBlock(widened(part[chosen], space), numbers[chosen], nothing, half)


def margin(width: int) -> np.float32:
    """How far two float32 scores of one pair of unit vectors can lie apart, plus the rounding of scores.

    Twice the bound on a float32 dot product of `width` terms in any order of summation.
    """
    return np.float32(2 * (width + 8) * 2.0**-24)


def rescored(
    vectors: Float[np.ndarray, "N D"],
    rows: Int64[np.ndarray, " P"],
    others: Float64[np.ndarray, "Q D"],
    columns: Int64[np.ndarray, " P"],
) -> Float32[np.ndarray, " P"]:
    """The scores of pairs, each in float64 by itself and then rounded to float32.

    Args:
        vectors: where the rows of the pairs are.
        rows: the row of each pair.
        others: where their partners are.
        columns: the partner of each pair.
    """
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _PAIRS):
        part = slice(start, start + _PAIRS)
        wide = vectors[rows[part]].astype(np.float64)
        scores[part] = np.multiply(wide, others[columns[part]], out=wide).sum(axis=1)
    return scores


def search_blocks(parts: Iterator[ScoreBlock], queries: Float32[np.ndarray, "Q D"], k: int) -> Hits:
    """The k best rows of each query; equal scores in the order of rows.

    Args:
        parts: what to search, in the order of rows, at least k rows together.
        queries: of length 1.
        k: answers a query.
    """
    count, width = queries.shape
    near, wide = margin(width), queries.astype(np.float64)
    best = Hits(np.full((count, k), -np.inf, np.float32), np.full((count, k), -1, np.int64))
    for block in parts:
        rough = block.product(queries)
        rough[block.left_out] = -np.inf
        # No score is below -2, so nothing that is left out comes above.
        floor = np.maximum(best.scores[:, -1] - near, np.float32(-2))
        if best.rows[0, -1] < 0:  # no query has k answers yet
            _raise(floor, rough, np.arange(count), k, near)
        places, columns = np.divmod(np.flatnonzero(rough >= floor), count)
        crowded = np.flatnonzero(np.bincount(columns, minlength=count) > 4 * k + 16)
        if len(crowded):
            _raise(floor, rough, crowded, k, near)
            kept = rough[places, columns] >= floor[columns]
            places, columns = places[kept], columns[kept]
        if len(places):
            scores = rescored(block.vectors, places, wide, columns)
            _merge(best, columns, scores, block.numbers[places])
    return best


def _raise(floor: np.ndarray, rough: np.ndarray, columns: np.ndarray, k: int, near: np.float32) -> None:
    """Raises the floors of some queries to what could be among the k best of the block itself, in place."""
    last = len(rough) - k
    if last > 0:
        worst = np.partition(np.ascontiguousarray(rough[:, columns].T), last, axis=1)[:, last] - near
        floor[columns] = np.maximum(floor[columns], worst)


def _merge(best: Hits, columns: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
    """Puts new answers among the best ones, in place."""
    touched, group = np.unique(columns, return_inverse=True)
    k = best.rows.shape[1]
    group = np.concatenate([np.repeat(np.arange(len(touched)), k), group])
    scores = np.concatenate([best.scores[touched].ravel(), scores])
    rows = np.concatenate([best.rows[touched].ravel(), rows])
    order = np.lexsort((rows, -scores, group))
    first = np.searchsorted(group[order], np.arange(len(touched)))
    order = order[first[:, None] + np.arange(k)]
    best.scores[touched], best.rows[touched] = scores[order], rows[order]
