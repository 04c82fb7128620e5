"""One query out of several: words, pictures, and what is to be left out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32

from deixis.errors import DeixisError

__all__ = ["HOW", "MINUS", "check_mixing", "compose", "mean"]

HOW = ("sphere", "sum")
"""How words and pictures are mixed."""

MINUS = 0.5
"""How much weighs what is to be left out, all that is asked for weighing 1."""


def mean(vectors: Float[np.ndarray, "N D"], weights: Sequence[float] = ()) -> Float32[np.ndarray, " D"]:
    """The direction between several, each brought to length 1 first.

    Args:
        vectors: at least one; of any length but zero.
        weights: of each; equal where none are given.

    Raises:
        DeixisError: the vectors cancel out, or one of them points nowhere.
    """
    rows = np.asarray(vectors, np.float64)
    shares = np.ones(len(rows)) if not len(weights) else np.asarray(weights, np.float64)
    return _unit((shares[:, None] * np.stack([_unit(row) for row in rows])).sum(axis=0)).astype(np.float32)


def check_mixing(mix: float, how: str, minus_weight: float) -> None:
    """Refuses settings of `compose` that are out of their range.

    Raises:
        DeixisError: one of them is.
    """
    if how not in HOW:
        raise DeixisError(f"There is no way of mixing called {how!r}.", f"There are: {', '.join(HOW)}.")
    if not 0 <= mix <= 1:
        raise DeixisError(f"The mix is {mix}.", "Give a number from 0 (text only) to 1 (pictures only).")
    if not 0 <= minus_weight < np.inf:
        raise DeixisError(f"minus_weight is {minus_weight}.", "Give 0 or more.")


def compose(
    words: Float[np.ndarray, " D"] | None,
    pictures: Float[np.ndarray, " D"] | None,
    minus: Float[np.ndarray, " D"] | None = None,
    *,
    mix: float = 0.5,
    how: str = "sphere",
    minus_weight: float = MINUS,
) -> Float32[np.ndarray, " D"]:
    """A query of words, of pictures, or of both, less what is to be left out.

    `sum` adds the two, as ALIGN does (section 7): (1 - mix) words + mix pictures. `sphere` goes along the great circle
    from one to the other, so that `mix` is a share of the way: embeddings of words and of pictures lie far apart in
    most models, where a sum hurries through the middle. What is left out is subtracted from the mixture, in either.

    Args:
        words: the direction of the words [D], of any length but zero; None where there are none.
        pictures: likewise.
        minus: what is to be left out, likewise.
        mix: 0 asks by the words alone, 1 by the pictures alone; without one of the two it has no effect.
        how: one of `HOW`.
        minus_weight: how much `minus` weighs, 0 or more.

    Returns:
        The query, of length 1 [D].

    Raises:
        DeixisError: nothing is asked for, the parts cancel out, or a setting is out of its range.
    """
    check_mixing(mix, how, minus_weight)
    asked = [_unit(np.asarray(each, np.float64)) for each in (words, pictures) if each is not None]
    if not asked:
        raise DeixisError(
            "The query only has terms to subtract." if minus is not None else "The query is empty.",
            "Give some words, or a picture.",
        )
    query = asked[0] if len(asked) == 1 else _mixed(asked[0], asked[1], mix, how)
    if minus is not None:
        query = _unit(query) - minus_weight * _unit(np.asarray(minus, np.float64))
    return _unit(query).astype(np.float32)


def _mixed(words: np.ndarray, pictures: np.ndarray, mix: float, how: str) -> np.ndarray:
    if how == "sum":
        return (1 - mix) * words + mix * pictures
    angle = np.arccos(np.clip(words @ pictures, -1.0, 1.0))
    if np.sin(angle) < 1e-6:  # the same direction, or opposite ones, between which no way is the shortest
        return (1 - mix) * words + mix * pictures
    return (np.sin((1 - mix) * angle) * words + np.sin(mix * angle) * pictures) / np.sin(angle)


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length < 1e-9:
        raise DeixisError(
            "The parts of the query cancel out: the sum is zero.",
            "Subtract less, or weight the parts differently.",
        )
    return np.asarray(vector / length)
