"""From scores to chances: a logistic fit and an isotonic one, and how far chances are from what happens.

Needs numpy only, and scipy to fit: a search by words need not wait for that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

__all__ = [
    "Bin",
    "Isotonic",
    "Logistic",
    "brier",
    "calibration_error",
    "isotonic",
    "log_loss",
    "logistic",
    "reliability",
    "shifted",
    "sigmoid",
]

_RIDGE = 1e-6  # keeps weights finite where two inputs say the same


def sigmoid(odds: Any) -> np.ndarray:
    """The chance of log odds."""
    return np.asarray(np.exp(-np.logaddexp(0.0, -np.asarray(odds, np.float64))))


def _log_odds(chances: Any) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(chances) - np.log1p(-np.asarray(chances)))


@dataclasses.dataclass(frozen=True)
class Logistic:
    """sigmoid(weights . inputs + offset); no weight is negative, so that more of an input never lowers the chance."""

    weights: tuple[float, ...]
    offset: float

    def log_odds(self, inputs: Float[np.ndarray, "*N F"]) -> Float[np.ndarray, "*N"]:
        """The chance as log odds."""
        return np.asarray(np.asarray(inputs) @ np.array(self.weights) + self.offset)

    def __call__(self, inputs: Float[np.ndarray, "*N F"]) -> Float[np.ndarray, "*N"]:
        """The chance."""
        return np.asarray(sigmoid(self.log_odds(inputs)))


@dataclasses.dataclass(frozen=True)
class Isotonic:
    """A rising line through the points (at, chance), level beyond its ends."""

    at: tuple[float, ...]
    chance: tuple[float, ...]

    def __call__(self, scores: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
        """The chance."""
        return np.asarray(np.interp(scores, self.at, self.chance))

    def to_dict(self) -> dict[str, list[float]]:
        """As JSON can hold it."""
        return {"at": list(self.at), "chance": list(self.chance)}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Isotonic:
        """What `to_dict` wrote.

        Raises:
            ValueError: the line does not rise, or is no line of chances.
        """
        at, chance = (np.array(value[name], dtype=np.float64) for name in ("at", "chance"))
        rises = len(at) == len(chance) > 0 and (np.diff(at) >= 0).all() and (np.diff(chance) >= 0).all()
        if not rises or not np.isfinite(at).all() or not ((chance >= 0) & (chance <= 1)).all():
            raise ValueError("an isotonic line rises from 0 to 1 at most")
        return cls(tuple(at.tolist()), tuple(chance.tolist()))


def logistic(inputs: Float[np.ndarray, "N F"], right: Bool[np.ndarray, " N"]) -> Logistic:
    """The most likely logistic chance with no negative weight.

    What is fitted to is not 1 and 0 but (n1 + 1) / (n1 + 2) and 1 / (n0 + 2), for n1 that are right and n0 that are
    not: certainty can't be had from a finite sample.

    Source: Platt, Probabilistic Outputs for Support Vector Machines, in: Advances in Large Margin Classifiers (1999).

    Args:
        inputs: what is known of each.
        right: what came of it.
    """
    from scipy import optimize

    x, hits = np.asarray(inputs, dtype=np.float64), int(np.sum(right))
    targets = np.where(right, (hits + 1) / (hits + 2), 1 / (len(right) - hits + 2))
    mean, spread = x.mean(0), x.std(0)
    spread[spread == 0] = 1.0
    z = np.column_stack([(x - mean) / spread, np.ones(len(x))])

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        odds = z @ weights
        value = (targets * np.logaddexp(0, -odds) + (1 - targets) * np.logaddexp(0, odds)).mean()
        return value + _RIDGE * weights @ weights, z.T @ (sigmoid(odds) - targets) / len(z) + 2 * _RIDGE * weights

    start = np.append(np.zeros(x.shape[1]), _log_odds(targets.mean()))
    bounds = [(0, None)] * x.shape[1] + [(None, None)]
    options = {"gtol": 1e-8, "ftol": 1e-12}
    found = optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options=options).x
    weights = found[:-1] / spread
    return Logistic(tuple(weights.tolist()), float(found[-1] - weights @ mean))


def isotonic(scores: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> Isotonic:
    """The rising line that is nearest to what came of each score, in squares; never quite 0 or 1.

    Source: Zadrozny, Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates, KDD 2002.

    Args:
        scores: more is better.
        right: what came of each.
    """
    from scipy import optimize

    at, place, counts = np.unique(np.asarray(scores, dtype=np.float64), return_inverse=True, return_counts=True)
    found = optimize.isotonic_regression(np.bincount(place, weights=right) / counts, weights=counts)
    least = 0.5 / (len(right) + 1)
    ends = np.unique(np.append(found.blocks[:-1], found.blocks[1:] - 1))  # each level part by its two ends
    chance = np.clip(found.x[ends], least, 1 - least)
    return Isotonic(tuple(at[ends].tolist()), tuple(chance.tolist()))


def shifted(chances: Float[np.ndarray, "*N"], by: float) -> Float[np.ndarray, "*N"]:
    """Chances whose log odds are moved: what they are where the matches are rarer (negative) or more common.

    Source: Saerens, Latinne, Decaestecker, Adjusting the Outputs of a Classifier to New a Priori Probabilities, Neural
    Computation 14 (2002).
    """
    return np.asarray(sigmoid(_log_odds(chances) + by))


# --- how good chances are ---------------------------------------------------------------------------------------------


class Bin(NamedTuple):
    """Cases whose chance is about the same: which they are, the mean chance, and the share that came true."""

    members: np.ndarray
    told: float
    came: float


def log_loss(chances: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> float:
    """Mean surprise in nats; no chance may be 0 or 1."""
    return float(-np.log(np.where(right, chances, 1 - np.asarray(chances))).mean())


def brier(chances: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"]) -> float:
    """Mean squared difference of chance and what came (Brier, 1950): 0 is best; s (1 - s) has who always tells the
    share s of all."""
    return float(((np.asarray(chances) - right) ** 2).mean())


def reliability(chances: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"], bins: int = 10) -> list[Bin]:
    """Cases in order of their chance, cut where as many are expected to come true in each part as in any other, so that
    high chances are told apart even where most are low; equal chances may be cut apart, and a part be left out."""
    order = np.argsort(chances, kind="stable")
    seen = np.cumsum(chances[order])
    cuts = np.searchsorted(seen, seen[-1] * np.arange(1, bins) / bins)
    parts = [part for part in np.split(order, cuts) if len(part)]
    return [Bin(part, float(np.mean(chances[part])), float(np.mean(right[part]))) for part in parts]


def calibration_error(chances: Float[np.ndarray, " N"], right: Bool[np.ndarray, " N"], bins: int = 10) -> float:
    """Expected calibration error: how far the chances told are from what came, on the mean over parts of equal size."""
    parts = [part for part in np.array_split(np.argsort(chances, kind="stable"), bins) if len(part)]
    return float(sum(abs(np.sum(chances[part]) - np.sum(right[part])) for part in parts) / len(right))
