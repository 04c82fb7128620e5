"""Which passages are hard negatives of a query."""

from __future__ import annotations

import dataclasses

from deixis.errors import DeixisError

__all__ = ["MiningRule"]


@dataclasses.dataclass(frozen=True)
class MiningRule:
    """Which passages are negatives of a query.

    Attributes:
        first: rank of the nearest that may be drawn, counted from 1 among passages that do not answer it.
        last: rank of the farthest that may be drawn.
        drawn: how many are drawn of these.
        margin: instead of by rank: the nearest whose cosine is below the answer's by at least this; 0: by rank.
    """

    first: int = 50
    last: int = 100
    drawn: int = 7
    margin: float = 0.0

    @property
    def passages(self) -> int:
        """How many there must be."""
        return self.drawn + 1 if self.margin else self.last + 1

    def __post_init__(self) -> None:
        if not 1 <= self.first <= self.last or self.drawn < 1 or self.margin < 0:
            raise DeixisError(
                f"Negatives are to be {self.drawn} of ranks {self.first} to {self.last}, margin {self.margin}.",
                "Give ranks from 1 on, the smaller first; one negative or more; a margin of 0 or more.",
            )
        if not self.margin and self.last - self.first + 1 < self.drawn:
            raise DeixisError(
                f"{self.drawn} negatives are to be drawn of ranks {self.first} to {self.last}.", "Give more ranks."
            )
