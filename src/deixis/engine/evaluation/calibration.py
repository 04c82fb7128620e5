"""The chance that a search result is what was meant, and that anything in the collection is.

    evidence = a cosine + b (cosine - mean) / deviation + c,   a, b >= 0

mean and deviation being those of the query's cosines with all pictures: some words are near to everything. `evidence`
is the log odds of a match.

A collection grows, and the best of more pictures scores higher by chance. If what is added is about other things,
matches are rarer by the factor of growth, and the log odds of a result fall by its logarithm. The best evidence among
pictures that don't match rises in proportion to that logarithm; by how much is measured, by halving the gallery.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from deixis.ops.calibration import Isotonic, Logistic, shifted, sigmoid

__all__ = ["Calibration", "QueryStats", "inputs"]

Scalar = float | np.floating[Any]


@dataclasses.dataclass(frozen=True)
class QueryStats:
    """What must be known of all of a query's scores, to judge its best.

    Attributes:
        mean: of its cosines with the pictures of the collection.
        deviation: their standard deviation.
        count: how many pictures were searched.
    """

    mean: Scalar | Float[np.ndarray, " Q"]
    deviation: Scalar | Float[np.ndarray, " Q"]
    count: int

    @classmethod
    def of(cls, scores: Float[np.ndarray, "*Q N"], count: int | None = None) -> QueryStats:
        """From the cosines with all pictures, or with a random sample of `count`."""
        values = np.asarray(scores, dtype=np.float64)
        return cls(values.mean(-1), values.std(-1), values.shape[-1] if count is None else count)


def inputs(scores: Any, mean: Any, deviation: Any) -> Float[np.ndarray, "*N 2"]:
    """What evidence is taken from: the cosine, and the cosine in deviations from the mean."""
    values = np.asarray(scores, dtype=np.float64)
    return np.stack([values, (values - mean) / np.maximum(deviation, 1e-6)], axis=-1)


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Turns the cosines of a text query into chances.

    Attributes:
        evidence: log odds of a match, of a cosine and the same in deviations from the mean.
        curve: corrects them, where that was found better.
        presence: chance that anything matches, of the best evidence, half of all queries having an answer.
        count: pictures in the galleries that `evidence` is of.
        searched: pictures in the galleries that `presence` is of.
        growth: how much the best evidence grows, without any match, with the logarithm of the number of pictures.
        threshold: of `present`, below which nothing matches; 0 where no threshold separates them.
    """

    evidence: Logistic
    curve: Isotonic | None
    presence: Logistic
    count: int
    searched: int
    growth: float
    threshold: float

    def chance(self, scores: Float[np.ndarray, "*Q k"], rest: QueryStats) -> Float[np.ndarray, "*Q k"]:
        """The chance that each result of a query matches, given that something in the collection does.

        Args:
            scores: cosines of results.
            rest: of the same queries.
        """
        odds = self.evidence.log_odds(
            inputs(scores, *(np.asarray(each)[..., None] for each in (rest.mean, rest.deviation)))
        )
        chances = np.asarray(sigmoid(odds)) if self.curve is None else self.curve(odds)
        return shifted(chances, -math.log(max(rest.count, 1) / self.count))

    def present(self, best: Scalar | Float[np.ndarray, " Q"], rest: QueryStats) -> Float[np.ndarray, "*Q"]:
        """The chance that anything in the collection matches, for a query of which that is as likely as not.

        Args:
            best: the highest cosine of a query.
            rest: of the same queries.
        """
        odds = self.evidence.log_odds(inputs(best, rest.mean, rest.deviation))
        return self.presence((odds - self.growth * math.log(max(rest.count, 1) / self.searched))[..., None])

    def nothing(self, best: Scalar | Float[np.ndarray, " Q"], rest: QueryStats) -> Bool[np.ndarray, "*Q"]:
        """Whether to say that nothing matches."""
        return np.asarray(self.present(best, rest) < self.threshold)

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return dataclasses.asdict(self) | {"curve": self.curve and self.curve.to_dict()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Calibration:
        """What `to_dict` wrote.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        evidence, presence = (
            Logistic(tuple(map(float, value[name]["weights"])), float(value[name]["offset"]))
            for name in ("evidence", "presence")
        )
        curve = None if value["curve"] is None else Isotonic.from_dict(value["curve"])
        count, searched = int(value["count"]), int(value["searched"])
        numbers = (*evidence.weights, evidence.offset, *presence.weights, presence.offset)
        if (len(evidence.weights), len(presence.weights)) != (2, 1) or min(count, searched) < 1:
            raise ValueError("no calibration of cosines")
        if (
            not np.isfinite([*numbers, value["growth"], value["threshold"]]).all()
            or min(*evidence.weights, *presence.weights) < 0
        ):
            raise ValueError("a weight is negative or not finite")
        return cls(evidence, curve, presence, count, searched, float(value["growth"]), float(value["threshold"]))
