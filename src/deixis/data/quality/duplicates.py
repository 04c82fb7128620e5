"""Which of many images look alike, found without comparing their pixels pair by pair."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from deixis.inputs.duplicates import NEAR_DUPLICATE_BITS

__all__ = ["NEAR_DUPLICATE_DIFFERENCE", "alike"]

NEAR_DUPLICATE_DIFFERENCE = 0.25
"""Distance of near-duplicates' thumbnails, as a share of the larger contrast of the two."""

_NOISE = 6.0
"""Grey levels a pixel by which thumbnails of one image may differ in any case."""


def alike(codes: NDArray[np.uint64], thumbnails: NDArray[np.uint8], block: int = 256) -> NDArray[np.int64]:
    """Sets of images that look alike, linked from neighbour to neighbour.

    Two images are linked if their hashes differ in at most `NEAR_DUPLICATE_BITS` bits and their thumbnails agree too:
    the hash describes coarse shapes, and small drawings on white share those.

    Args:
        codes: [N] perceptual hashes.
        thumbnails: [N, P] the values of a small image each, 0 to 255.
        block: rows compared at a time; memory is block x N.

    Returns:
        [N] number of each image's set.
    """
    if not len(codes):
        return np.zeros(0, dtype=np.int64)
    rows = np.concatenate([codes[:, None].view(np.uint8).reshape(len(codes), 8), thumbnails], axis=1)
    distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
    bits = np.unpackbits(distinct[:, :8], axis=1).astype(np.float32) * 2 - 1
    small = distinct[:, 8:].astype(np.float32)
    sets = np.arange(len(distinct))
    for start in range(0, len(distinct), block):
        left, right = (sets[side] for side in _links(bits, small, start, block))
        edges = np.unique(np.stack([left, right])[:, left != right], axis=1)
        graph = coo_array((np.ones(edges.shape[1], dtype=np.int8), tuple(edges)), shape=(len(distinct),) * 2)
        sets = connected_components(graph, directed=False)[1].astype(np.int64)[sets]
    return np.unique(sets, return_inverse=True)[1].reshape(-1)[inverse.reshape(-1)]


def _links(
    bits: NDArray[np.float32], small: NDArray[np.float32], start: int, block: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs (i, j), i < j, with i in the block that begins at `start`. Bits are +-1: 64 - 2 x distance is their
    product, exact in float32 and the fastest way to count."""
    products = bits[start : start + block] @ bits[start:].T
    near = np.triu(products >= bits.shape[1] - 2 * NEAR_DUPLICATE_BITS, k=1)
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    near = near[np.ix_(rows, columns)]
    near &= _close(small[start + rows], small[start + columns])
    left, right = np.nonzero(near)
    return start + rows[left], start + columns[right]


def _close(these: NDArray[np.float32], those: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[R, C]: whether the thumbnails [R, P] and [C, P] agree, for their contrast."""
    these, those = these - 128, those - 128
    squares = (
        np.square(these).mean(axis=1)[:, None] + np.square(those).mean(axis=1) - these @ those.T * (2 / those.shape[1])
    )
    contrast = np.maximum(these.std(axis=1)[:, None], those.std(axis=1))
    close: NDArray[np.bool_] = squares <= np.square(NEAR_DUPLICATE_DIFFERENCE * contrast + _NOISE)
    return close
