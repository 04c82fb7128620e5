"""Exact search: the rows of highest score, whatever the blocks, the threads and the other queries are.

A block of rows is scored with all queries by one matrix product that may round: in float32, or as `products` do. What
comes within the bound on that rounding of a query's k-th score is scored again in float64, row by row, and it is this
score that counts, rounded to float32. So the product may sum in any order, and equal vectors score equally. After a
few blocks hardly any row comes near: what is left of the work is the product and one comparison of its scores.

Of several queries, rows are scored again when all blocks have been seen and fewer are near. With 500 queries and 20,000
rows of 512 numbers, one thread, what comes beside the product took 0.045 s of processor and not 0.085.

Beyond the vectors, 500 queries take some 12 MB whatever the size of the index: a block of scores (4 MB), what BLAS
packs for it (7 MB) and the queries. Blocks of half the size would take half of that, and a seventh more time.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, Shaped

from deixis.indexing.products.codes import Coded, Codes, RowReader, asked_in_codes
from deixis.indexing.products.halves import Halves, asked_in_halves, lent
from deixis.indexing.segments import Segment

__all__ = ["Hits", "ScoreBlock", "blocks", "margin", "rescored", "search_blocks", "widened"]

_SCORES = 1 << 20  # of a block, in float32: what the second-level cache of a core holds, more or less
_ROWS = 1 << 18  # of a block at the most: at the end of each, threads wait for one another
_GATHERED = 1 << 16  # of a block of which a part may be copied
_HALVES = 512  # rows of float16 that are widened at once, such that they are multiplied before they leave the cache
_LEAST = np.float32(-2)  # and less than any score
_PAIRS = 128  # rows that are scored again at once
_WAITING = 1 << 16  # pairs that are scored again together at the most, beside those of a block
_GROUPS = 32  # times k: of so many scores the largest of each group is looked for


class Hits(NamedTuple):
    """The best answers of each query, best first: cosine similarities and rows of the index."""

    scores: Float32[np.ndarray, "Q k"]
    rows: Int64[np.ndarray, "Q k"]


class ScoreBlock(NamedTuple):
    """Rows that are scored together.

    Attributes:
        vectors: as they are stored, float32 or float16; codes where there are some.
        first: the number in the index of the first row.
        chosen: which rows behind the first they are; None: all, one after the other.
        left_out: places among them that do not count.
        codes: what is scored in place of the vectors, if anything.
    """

    vectors: Shaped[np.ndarray, "N D"]
    first: int
    chosen: Int64[np.ndarray, " N"] | None
    left_out: Int64[np.ndarray, " _"]
    codes: Codes | None = None

    def numbers(self, places: Int64[np.ndarray, " P"]) -> Int64[np.ndarray, " P"]:
        """Of the rows at some places, in the index."""
        return (places if self.chosen is None else self.chosen[places]) + self.first

    def exactly(
        self, places: Int64[np.ndarray, " P"], others: Float[np.ndarray, "Q D"], columns: Int64[np.ndarray, " P"]
    ) -> Float32[np.ndarray, " P"]:
        """The scores of pairs by whole vectors; see `rescored`."""
        if self.codes is None:
            return rescored(self.vectors, places, others, columns)
        rows = (places if self.chosen is None else self.chosen[places]) + self.codes.start
        return rescored(self.codes.whole, rows, others, columns)

    def product(self, others: Float[np.ndarray, "Q D"]) -> Float32[np.ndarray, "N Q"]:
        """All scores with other vectors, in float32.

        The threads that have just widened halves are torch's, and numpy's would wait until those sleep, some
        milliseconds a block; so the product of halves is torch's as well.
        """
        if self.codes is not None:
            return self.codes.product(others)
        if self.vectors.dtype == np.float32:
            return self.vectors @ others.T
        import torch

        asked = torch.from_numpy(widened(others)).T
        scores = torch.empty(len(self.vectors), len(others))
        space = np.empty((min(_HALVES, len(self.vectors)), self.vectors.shape[1]), np.float32)
        with torch.autocast("cpu", enabled=False):  # which would round to bfloat16
            for start in range(0, len(scores), _HALVES):
                part = slice(start, start + _HALVES)
                torch.mm(torch.from_numpy(widened(self.vectors[part], space)), asked, out=scores[part])
        made: np.ndarray = scores.numpy()
        return made


def widened(
    vectors: Float[np.ndarray, "N D"], space: Float32[np.ndarray, "_ D"] | None = None
) -> Float32[np.ndarray, "N D"]:
    """Rows in float32; float16 is widened by torch, which has the processor's instruction for it and several threads.

    Args:
        vectors: float32, which stay as they are, or float16.
        space: memory of at least as many rows that is used for the answer.
    """
    if vectors.dtype == np.float32:
        return np.asarray(vectors)
    import torch  # here, since an index of float32 does without it

    wide = np.empty(vectors.shape, np.float32) if space is None else space[: len(vectors)]
    torch.from_numpy(wide).copy_(lent(vectors))
    return wide


def blocks(
    segments: Sequence[Segment],
    wanted: Bool[np.ndarray, " N"] | None,
    queries: int,
    size: int | None = None,
    coded: bool = False,
) -> Iterator[ScoreBlock]:
    """The wanted rows of all segments, in order.

    Args:
        segments: of the index.
        wanted: which rows count; None is all. Where few of a block do, they alone are gathered.
        queries: how many will be asked at once.
        size: rows of a block; None chooses it by what a cache holds.
        coded: take codes in place of vectors where there are some.
    """
    nothing = np.zeros(0, np.int64)
    step = size or min(_ROWS if wanted is None else _GATHERED, max(1024, _SCORES // max(queries, 1)))
    for segment in segments:
        codes = segment.codes if coded else None
        # As a plain array: what a memory map does beside costs more than a small product.
        vectors = np.asarray(segment.vectors) if codes is None else codes.codes
        for start in range(0, len(vectors), step):
            part, first = vectors[start : start + step], segment.start + start
            some = None if codes is None else codes.part(start, start + step)
            if wanted is None or (chosen := wanted[first : first + len(part)]).all():
                yield ScoreBlock(part, first, None, nothing, some)
            elif 4 * (count := np.count_nonzero(chosen)) > len(part):
                yield ScoreBlock(part, first, None, np.flatnonzero(~chosen), some)
            elif count:
                few = None if some is None else some._replace(codes=part[chosen], scales=some.scales[chosen])
                yield ScoreBlock(part[chosen], first, np.flatnonzero(chosen), nothing, few)


def margin(width: int) -> np.float32:
    """How far two float32 scores of one pair of unit vectors can lie apart, plus the rounding of scores.

    Twice the bound on a float32 dot product of `width` terms in any order of summation.
    """
    return np.float32(2 * (width + 8) * 2.0**-24)


def rescored(
    vectors: Float[np.ndarray, "N D"] | RowReader,
    rows: Int64[np.ndarray, " P"],
    others: Float[np.ndarray, "Q D"],
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
        partners = (others if len(others) == 1 else others[columns[part]]).astype(np.float64)
        scores[part] = np.multiply(wide, partners, out=wide).sum(axis=1)
    return scores


class _Scores:
    """Scores of blocks with some queries that may be off, and twice the bound on by how much."""

    def __init__(self, queries: Float32[np.ndarray, "Q D"]) -> None:
        self.queries, self.margin = queries, margin(queries.shape[1])

    @functools.cached_property
    def halves(self) -> Halves | None:
        return asked_in_halves(self.queries)

    @functools.cached_property
    def coded(self) -> Coded | None:
        return asked_in_codes(self.queries)

    def __call__(self, block: ScoreBlock) -> tuple[Float32[np.ndarray, "N Q"], np.float32]:
        if block.codes is not None:
            near = block.codes.margin(self.queries.shape[1])
            if self.coded is None:
                return block.product(self.queries), near
            return self.coded.product(block.codes), near + self.coded.margin(block.codes)
        if block.vectors.dtype != np.float16 or self.halves is None:
            return block.product(self.queries), self.margin
        return self.halves.product(block.vectors), self.halves.margin


class _Candidates:
    """What may be among the k best rows of each query, by scores that may be off; scored exactly some time later.

    Most rows that are near the best when they come are not in the end: of 20,000 rows, where answers are 10, each query
    sees some 80 of them, and 11 or 12 of those are scored again when all blocks have been seen.
    """

    def __init__(self, queries: Float32[np.ndarray, "Q D"], k: int) -> None:
        self._queries = queries
        self._largest = np.full((len(queries), k), -np.inf, np.float32)  # scores of candidates, the least first
        self._waiting: list[tuple[ScoreBlock, np.ndarray, np.ndarray, np.ndarray]] = []
        self._margin, self._count = np.float32(0), 0
        self._best = Hits(self._largest, np.full((len(queries), k), -1, np.int64))

    def floor(self, near: np.float32) -> Float32[np.ndarray, " Q"]:
        """What a score must reach to be a candidate: more than rows that are left out have.

        Args:
            near: twice the bound on what the scores are off that will be compared with it.
        """
        self._margin = max(self._margin, near)
        return np.maximum(self._largest[:, 0] - self._margin, _LEAST)

    def add(self, block: ScoreBlock, places: np.ndarray, columns: np.ndarray, scores: np.ndarray) -> None:
        """Takes the places in a block, the queries and the scores of some candidates."""
        self._waiting.append((block, places, columns, scores))
        self._count += len(places)
        alone = len(self._queries) == 1  # whose few pairs are scored sooner than put off
        if not alone:
            self._raise(columns, scores)
        if alone or block.chosen is not None or self._count > _WAITING:  # the block is a copy, or many are equal
            self.rescore()

    def rescore(self) -> Hits:
        """Scores exactly what is near the best by now, and gives the best."""
        pairs, self._waiting, self._count = self._waiting, [], 0
        floor = self.floor(self._margin)
        found = []
        for block, places, columns, scores in pairs:
            kept = scores >= floor[columns]
            places, columns = places[kept], columns[kept]
            found.append((columns, block.exactly(places, self._queries, columns), block.numbers(places)))
        if found:
            _merge(self._best, *map(np.concatenate, zip(*found, strict=True)))
            self._largest = self._best.scores[:, ::-1]
        return self._best

    def _raise(self, columns: np.ndarray, scores: np.ndarray) -> None:
        """Counts scores among the k largest of their queries."""
        queries, k = self._largest.shape
        counts = np.bincount(columns, minlength=queries)
        most = int(counts.max())
        beside = np.full((queries, most + k), -np.inf, np.float32)
        beside[:, most:] = self._largest
        order = np.argsort(columns, kind="stable")
        columns = columns[order]
        beside[columns, np.arange(len(columns)) - (np.cumsum(counts) - counts)[columns]] = scores[order]
        self._largest = np.partition(beside, most, axis=1)[:, most:]


def search_blocks(parts: Iterator[ScoreBlock], queries: Float32[np.ndarray, "Q D"], k: int) -> Hits:
    """The k best rows of each query; equal scores in the order of rows.

    Args:
        parts: what to search, in the order of rows, at least k rows together.
        queries: of length 1.
        k: answers a query.
    """
    score, candidates = _Scores(queries), _Candidates(queries, k)
    for block in parts:
        rough, near = score(block)
        if len(block.left_out):
            rough[block.left_out] = -np.inf
        floor = candidates.floor(near)
        if floor[0] == _LEAST:  # no query has k candidates yet
            np.maximum(floor, _kth(rough, k) - near, out=floor)
        places, columns = _above(rough, floor, k, near)
        if len(places):
            candidates.add(block, places, columns, rough[places, columns])
        del rough  # before there are more
    return candidates.rescore()


def _above(
    rough: Float32[np.ndarray, "N Q"], floor: Float32[np.ndarray, " Q"], k: int, near: np.float32
) -> tuple[Int64[np.ndarray, " P"], Int64[np.ndarray, " P"]]:
    """The places and the queries of all scores that reach the query's floor, which is raised where too many do."""
    count, few = len(floor), 4 * k + 16
    places = (rough >= floor).ravel().nonzero()[0]
    places, columns = (places, places * 0) if count == 1 else np.divmod(places, count)
    if len(places) <= few or not len(crowded := np.flatnonzero(np.bincount(columns, minlength=count) > few)):
        return places, columns
    floor[crowded] = np.maximum(floor[crowded], _kth(rough[:, crowded], k) - near)
    kept = rough[places, columns] >= floor[columns]
    return places[kept], columns[kept]


def _kth(rough: Float32[np.ndarray, "N Q"], k: int) -> Float32[np.ndarray, " Q"]:
    """What at least k scores of each query reach, and hardly more do; -inf where there are not more than k.

    It is the k-th of the largest scores of groups, which is found sooner than that of all scores.
    """
    size = max(1, len(rough) // (_GROUPS * k))
    count = len(rough) // size
    if count <= k:
        return np.full(rough.shape[1], -np.inf, np.float32)
    largest = rough if size == 1 else rough[: size * count].reshape(size, count, -1).max(axis=0)
    found: np.ndarray = np.partition(np.ascontiguousarray(largest.T), count - k, axis=1)[:, count - k]
    return found


def _merge(best: Hits, columns: np.ndarray, scores: np.ndarray, rows: np.ndarray) -> None:
    """Puts new answers among the best ones, in place."""
    k = best.rows.shape[1]
    if len(best.rows) == 1:  # what follows, for less
        scores, rows = np.concatenate([best.scores[0], scores]), np.concatenate([best.rows[0], rows])
        order = np.lexsort((rows, -scores))[:k]
        best.scores[0], best.rows[0] = scores[order], rows[order]
        return
    touched, group = np.unique(columns, return_inverse=True)
    group = np.concatenate([np.repeat(np.arange(len(touched)), k), group])
    scores = np.concatenate([best.scores[touched].ravel(), scores])
    rows = np.concatenate([best.rows[touched].ravel(), rows])
    order = np.lexsort((rows, -scores, group))
    first = np.searchsorted(group[order], np.arange(len(touched)))
    order = order[first[:, None] + np.arange(k)]
    best.scores[touched], best.rows[touched] = scores[order], rows[order]
