"""Vectors in 8 bits that are scanned in their place: a quarter of the bytes of float32, and the same answers.

    v  =  scale * code + rest,     code in -127..127, one scale a row
    |q v - scale * (q code)|  <=  |q| |rest|

The length of the rest is known when a row is coded, so a scan of the codes tells for certain which rows can be among
the best. They alone, some tens a query, are read from the file of whole vectors, and it is by these that they are
scored. The file is read, not mapped: a page of a map would bring many rows along and keep them.

Of 60,000 rows of 512 numbers one query took 6.8 ms of processor with one thread, where float32 took 12.7 and float16
10.2; the process held 54 MB and not 136. 500 queries at once take two thirds longer than in float32.
"""

from __future__ import annotations

import functools
import os
import sys
import weakref
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int8, Int64

from deixis.errors import DeixisError

__all__ = ["Coded", "Codes", "RowReader", "asked_in_codes", "encode"]

_LARGEST = 127
_FINER = 2 * _LARGEST  # of a second code of the query: what the first one leaves is half a step at the most
_QUERIES = 2  # up to which a product of codes is faster than one of what they stand for
_AT_ONCE = 4096  # rows
_WIDENED = 512  # rows of which the cache of a core still holds all when they are multiplied


class RowReader:
    """Rows of a .npy file, read when they are asked for; threads may share it."""

    def __init__(self, stored: np.memmap) -> None:
        self._name, self._handle = str(stored.filename), os.open(str(stored.filename), os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)
        self._offset, self._shape, self._dtype = int(stored.offset), stored.shape, stored.dtype

    def __getitem__(self, rows: Int64[np.ndarray, " P"]) -> Float[np.ndarray, "P D"]:
        found = np.empty((len(rows), *self._shape[1:]), self._dtype)
        size = self._dtype.itemsize * self._shape[1]
        for place, row in enumerate(rows.tolist()):
            if os.preadv(self._handle, [found[place]], self._offset + row * size) != size:
                raise DeixisError(
                    f"The index file {self._name} is damaged (cut short while it was open).",
                    "Make the index again: deixis index DATA",
                )
        return found


class Codes(NamedTuple):
    """Of rows of a segment.

    Attributes:
        codes: of each row.
        scales: what a code of 1 stands for.
        lost: more than the length of what any row's code leaves out.
        whole: the vectors of the segment, by row.
        start: the first of these rows in it.
    """

    codes: Int8[np.ndarray, "N D"]
    scales: Float32[np.ndarray, " N"]
    lost: float
    whole: RowReader | Float[np.ndarray, "M D"]
    start: int = 0

    def part(self, start: int, stop: int) -> Codes:
        """Some of the rows, one after the other."""
        return self._replace(codes=self.codes[start:stop], scales=self.scales[start:stop], start=self.start + start)

    def product(self, others: Float32[np.ndarray, "Q D"]) -> Float32[np.ndarray, "N Q"]:
        """All scores with other vectors, by codes that are widened some at a time."""
        scores = np.empty((len(self.codes), len(others)), np.float32)
        space = np.empty((min(_WIDENED, len(scores)), others.shape[1]), np.float32)
        for start in range(0, len(scores), _WIDENED):
            wide = space[: len(scores) - start]
            np.copyto(wide, self.codes[start : start + _WIDENED])
            np.matmul(wide, others.T, out=scores[start : start + _WIDENED])
        scores *= self.scales[:, None]
        return scores

    def margin(self, width: int) -> np.float32:
        """Twice the bound on what scores made of codes are off, of queries of length 1.

        Args:
            width: numbers of a vector.
        """
        return np.float32(2.0001 * (self.lost + (width + 16) * 2.0**-24 * (1 + self.lost)))


class Coded(NamedTuple):
    """A few queries in codes: two of each, the second of what the first leaves.

    Attributes:
        codes: the first of all queries, then the second.
        scales: what a first code of 1 stands for.
        lost: the length of what both leave of a query, at the most.
    """

    codes: Int8[np.ndarray, "D _"]
    scales: Float32[np.ndarray, " Q"]
    lost: float

    def margin(self, rows: Codes) -> np.float32:
        """Twice the bound on what scores with some rows are off because the queries are codes as well."""
        return np.float32(2.0001 * self.lost * (1 + rows.lost))

    def product(self, rows: Codes) -> Float32[np.ndarray, "N Q"]:
        """All scores: sums of whole numbers, which are exact, times both scales."""
        sums = _product(rows.codes, self.codes)
        count = len(self.scales)
        scores = sums[:, count:].astype(np.float32)
        scores *= np.float32(1 / _FINER)
        scores += sums[:, :count]
        scores *= self.scales
        scores *= rows.scales[:, None]
        return scores


def encode(
    vectors: Float[np.ndarray, "N D"], start: int = 0
) -> tuple[Int8[np.ndarray, "N D"], Float32[np.ndarray, " N"], float]:
    """Codes and scales of vectors of length 1, and more than the length of what any code leaves out.

    Args:
        vectors: to code.
        start: the number of the first, for messages.

    Raises:
        DeixisError: a vector is not of length 1, so a bound on its scores would not hold.
    """
    codes, scales, lost = np.empty(vectors.shape, np.int8), np.empty(len(vectors), np.float32), 0.0
    for first in range(0, len(vectors), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        wide = vectors[part].astype(np.float64)
        length = np.sqrt((wide * wide).sum(axis=1))
        if not (np.abs(length - 1) < 1e-2).all():  # nor where it is NaN
            bad = int(np.argmax(~(np.abs(length - 1) < 1e-2)))
            raise DeixisError(
                f"Vector {start + first + bad} has length {length[bad]:.3g}, and int8 needs vectors of length 1.",
                "Divide each by its length first, or store them as float32.",
            )
        scales[part] = np.abs(wide).max(axis=1) / _LARGEST
        steps = np.rint(wide / scales[part, None]).clip(-_LARGEST, _LARGEST)
        codes[part] = steps
        wide -= steps * scales[part, None]
        lost = max(lost, float(np.sqrt((wide * wide).sum(axis=1)).max()))
    return codes, scales, lost * (1 + 1e-9)


def asked_in_codes(queries: Float32[np.ndarray, "Q D"]) -> Coded | None:
    """Queries of length 1 in codes; None where codes are better widened, or can't be multiplied as they are.

    The product is torch's. Where nothing has loaded torch yet, codes are widened: loading it takes longer than that.
    """
    if len(queries) > _QUERIES or "torch" not in sys.modules or not _there(queries.shape[1]):
        return None
    wide = queries.astype(np.float64)
    scales = (np.abs(wide).max(axis=1, keepdims=True) / _LARGEST).astype(np.float32)
    coarse = np.rint(wide / scales).clip(-_LARGEST, _LARGEST)
    fine = np.rint((wide / scales - coarse) * _FINER).clip(-_LARGEST, _LARGEST)
    rest = np.linalg.norm(wide - scales * (coarse + fine / _FINER), axis=1).max()
    codes = np.concatenate([coarse, fine]).astype(np.int8)
    return Coded(np.ascontiguousarray(codes.T), scales[:, 0], float(rest))


def _product(codes: Int8[np.ndarray, "N D"], others: Int8[np.ndarray, "D Q"]) -> np.ndarray:
    import torch

    from deixis.indexing.products.halves import lent

    found: np.ndarray = torch._int_mm(lent(codes), torch.from_numpy(others)).numpy()
    return found


@functools.cache
def _there(width: int) -> bool:
    """Whether this processor multiplies 8 bits, and torch does so without rounding or overflow: that is tried."""
    import torch

    known = getattr(torch.cpu, "_is_vnni_supported", None)
    if known is None or not known() or not hasattr(torch, "_int_mm"):
        return False
    rows = np.full((64, width), _LARGEST, np.int8)
    rows[::2] *= -1
    rows[:, 0] = 1
    right = rows.astype(np.int64) @ rows[:2].T.astype(np.int64)
    return all(np.array_equal(_product(rows[:n], np.ascontiguousarray(rows[:2].T)), right[:n]) for n in (1, 64))
