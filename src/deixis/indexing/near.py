"""Near-duplicates: all pairs of rows of an index that score above a threshold, found block by block."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int64

from deixis.errors import DeixisError
from deixis.indexing.exact import ScoreBlock, blocks, margin, rescored
from deixis.indexing.segments import Segment

__all__ = ["pairs"]

_BLOCK = 2048
_LIMIT = 1_000_000


def pairs(
    segments: Sequence[Segment], live: Bool[np.ndarray, " N"] | None, threshold: float, limit: int = _LIMIT
) -> list[tuple[int, int, float]]:
    """Pairs of rows that score at least `threshold`: the lower row first, the best pair first, equal ones by row.

    Each block is scored with itself and with those behind it, so no more than a block times a block of scores is held
    at a time. The time grows with the square of the rows.

    Args:
        segments: of the index.
        live: which rows were not removed.
        threshold: a cosine similarity.
        limit: pairs at most.

    Raises:
        DeixisError: the threshold is no cosine similarity, or more pairs reach it than the limit.
    """
    if not -1 <= threshold <= 1:
        raise DeixisError(f"The threshold is {threshold}.", "Give a cosine similarity from -1 to 1, such as 0.95.")
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    count = 0
    for place, block in enumerate(blocks(segments, live, _BLOCK, _BLOCK)):
        wide = block.vectors.astype(np.float64)
        for other_place, other in enumerate(blocks(segments, live, _BLOCK, _BLOCK)):
            if other_place < place:
                continue
            rows, columns, scores = _close(block, wide, other, threshold)
            found.append((block.numbers(rows), other.numbers(columns), scores))
            count += len(rows)
            if count > limit:
                raise DeixisError(
                    f"More than {limit} pairs are at least {threshold} alike.", "Ask for pairs that are more alike."
                )
    if not count:
        return []
    first, second, scores = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((second, first, -scores))
    return list(zip(first[order].tolist(), second[order].tolist(), scores[order].tolist(), strict=True))


def _close(
    block: ScoreBlock, wide: Float64[np.ndarray, "N D"], other: ScoreBlock, threshold: float
) -> tuple[Int64[np.ndarray, " P"], Int64[np.ndarray, " P"], np.ndarray]:
    rough = block.product(other.vectors)
    rough[block.left_out] = -np.inf
    rough[:, other.left_out] = -np.inf
    rows, columns = np.divmod(
        np.flatnonzero(rough >= np.float32(threshold) - margin(wide.shape[1])), len(other.vectors)
    )
    forward = block.numbers(rows) < other.numbers(columns)
    rows, columns = rows[forward], columns[forward]
    scores = rescored(other.vectors, columns, wide, rows)
    enough = scores >= np.float32(threshold)
    return rows[enough], columns[enough], scores[enough]
