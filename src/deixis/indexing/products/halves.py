"""Scores of float16 vectors by a product that widens them in the processor's registers, never in memory.

Read as they are stored, halves are half the bytes of float32; widened in memory first, they are written and read once
more, which takes as long again (60,000 rows of 512 numbers, one thread: 17 ms, 10 as here, and 7.6 to read them and do
nothing). faiss widens inside its dot product (9 ms); so does oneDNN, which torch calls on processors with arithmetic of
float16. It takes the queries as float16 too, sums in float32 and rounds the scores to float16, all
of which `Halves.margin` bounds: such scores choose what is scored again, and none of them is an answer.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float16, Float32, Shaped

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Halves", "asked_in_halves", "lent"]

_QUERIES = 2  # up to which it is faster than widening once for all of them
_UNIT = 2.0**-11  # of float16: the largest relative error of rounding
_LENGTH = 1 + 2.0**-9  # more than a vector of length 1 has whose numbers were rounded to float16


class Halves(NamedTuple):
    """Queries as float16, and twice the bound on what scores with them are off."""

    queries: Float16[np.ndarray, "Q D"]
    margin: np.float32

    def product(self, vectors: Float16[np.ndarray, "N D"]) -> Float32[np.ndarray, "N Q"]:
        """All scores, of numbers that float16 holds."""
        import torch

        with torch.autocast("cpu", enabled=False):  # which would round to bfloat16
            scores = torch.nn.functional.linear(torch.from_numpy(self.queries), lent(vectors))
        made: np.ndarray = scores.float().T.contiguous().numpy()
        return made


def asked_in_halves(queries: Float32[np.ndarray, "Q D"]) -> Halves | None:
    """Queries of length 1 for the fused product; None where widening is faster, or the processor has no such product.

    A score is off by no more than the length of what rounding the query leaves out, times that of the vector; a sum in
    float32 of any order; and the rounding of the score.
    """
    if len(queries) > _QUERIES or not _there(queries.shape[1]):
        return None
    rounded = queries.astype(np.float16)
    lost = np.linalg.norm(queries.astype(np.float64) - rounded, axis=1).max()
    bound = (lost + (_UNIT + (queries.shape[1] + 8) * 2.0**-24) * _LENGTH) * _LENGTH + 2.0**-24
    return Halves(rounded, np.float32(2 * bound * (1 + _UNIT)))


@functools.cache
def _there(width: int) -> bool:
    """Whether this processor has such a product; that it sums in float32 is not only read but tried."""
    import torch

    known = getattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", None)
    if known is None or not torch.backends.mkldnn.is_available() or not known():
        return False
    rows = np.full((1024, width), _UNIT, np.float16)
    rows[:, 0] = 1  # to which a sum in float16 adds nothing more
    ones = Halves(np.ones((1, width), np.float16), np.float32(0))
    scores = np.concatenate([ones.product(rows), ones.product(rows[:1])])  # few rows may take another way
    return bool(np.abs(scores / (1 + (width - 1) * _UNIT) - 1).max() <= 1.01 * _UNIT)


class _Lent:
    """Memory that torch reads, and would warn of since it must not write to it."""

    def __init__(self, rows: Shaped[np.ndarray, "N D"]) -> None:
        self._rows = rows  # as long as it is read
        self.__array_interface__ = {**rows.__array_interface__, "data": (rows.__array_interface__["data"][0], False)}


def lent(rows: Shaped[np.ndarray, "N D"]) -> Shaped[Tensor, "N D"]:
    """A tensor [N, D] in the same memory, which must not be written."""
    import torch

    return torch.from_numpy(np.asarray(_Lent(np.ascontiguousarray(rows))))
