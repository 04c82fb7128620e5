"""What can be set of `deixis search`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["SearchSettings"]


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What is asked for besides words, and how.

    Attributes:
        k: how many answers.
        image: pictures that are asked for together with the words.
        minus: words or pictures to be left out.
        mix: of words and pictures: 0 asks by the words alone, 1 by the pictures alone.
        how: of mixing: along the sphere of directions, or by the sum.
        minus_weight: how much weighs what is left out, all that is asked for weighing 1.
        weights: of each of several texts, then of each picture; equal where none are given.
        where: conditions on columns, such as label=bird or year>=2020; all must hold.
        min_relevance: leave out answers less likely to be right than this, from 0 to 1.
        near: list pairs of pictures at least this alike in place of searching.
        json: print one JSON object.
    """

    k: int = 10
    image: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    mix: float = 0.5
    how: Literal["sphere", "sum"] = "sphere"
    minus_weight: float = 0.5
    weights: tuple[float, ...] = ()
    where: tuple[str, ...] = ()
    min_relevance: float = 0.0
    near: float | None = None
    json: bool = False
