"""Fewer numbers a vector: the coordinates along the directions in which the vectors of a collection differ most.

An index keeps the directions [D, d] beside coordinates [N, d]. To the outside its vectors are as wide as ever: what the
coordinates stand for is made of them again where it is asked for, and the cosine with a query is that of its
coordinates.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Float32

from deixis.errors import DeixisError

__all__ = ["Storage", "principal_directions"]


@dataclasses.dataclass(frozen=True)
class Storage:
    """How vectors are stored.

    Attributes:
        dtype: `float32`, `float16` in half the space, or `int8`: `float32`, of which searches read codes in 8 bits.
        dims: numbers a vector; 0: all.
    """

    dtype: str = "float32"
    dims: int = 0


def principal_directions(vectors: Float[np.ndarray, "N D"], dims: int) -> Float32[np.ndarray, "D R"]:
    """Orthonormal directions along which the vectors, not centred, have the largest coordinates.

    Args:
        vectors: of length 1.
        dims: how many.

    Raises:
        DeixisError: there are not so many, or none is requested.
    """
    width = vectors.shape[1]
    if not 0 < dims < width:
        raise DeixisError(
            f"{dims} numbers a vector are requested, and the vectors have {width}.",
            f"Request from 1 to {width - 1} (--dims), or leave it out to keep all.",
        )
    wide = np.asarray(vectors, np.float64)
    directions = np.linalg.eigh(wide.T @ wide)[1][:, ::-1][:, :dims]
    return np.ascontiguousarray(directions, np.float32)
