"""Averages of base-to-new results. Two harmonic means are in circulation, and they differ; here each has its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from deixis.ops.stats import t_interval

__all__ = ["HarmonicMeans", "Spread", "harmonic", "harmonic_means", "spread"]


class HarmonicMeans(NamedTuple):
    """Both averages of accuracies on learned and on new classes.

    Attributes:
        of_means: the harmonic mean of the two average accuracies, as the tables of CoCoOp have it.
        mean_of: the average of the harmonic means of single runs, as the table of PRE has it; never the larger one.
    """

    of_means: float
    mean_of: float


class Spread(NamedTuple):
    """A mean over draws with its 95 % t interval; without ends where there is one draw, or no draw changes anything."""

    value: float
    low: float | None = None
    high: float | None = None


def harmonic(base: float, new: float) -> float:
    """2 b n / (b + n); 0 where both are 0."""
    return 2 * base * new / (base + new) if base + new > 0 else 0.0


def harmonic_means(base: Sequence[float], new: Sequence[float]) -> HarmonicMeans:
    """Both harmonic means of paired accuracies.

    Args:
        base: on learned classes, one a run.
        new: on new classes, of the same runs.

    Raises:
        ValueError: the runs are not paired, or there are none.
    """
    if len(base) != len(new) or not base:
        raise ValueError(f"{len(base)} and {len(new)} accuracies are no pairs")
    singles = [harmonic(b, n) for b, n in zip(base, new, strict=True)]
    return HarmonicMeans(harmonic(float(np.mean(base)), float(np.mean(new))), float(np.mean(singles)))


def spread(values: Sequence[float]) -> Spread:
    """The mean over draws, and its t interval where they differ; ends beyond 0 and 1 are cut."""
    if len(set(values)) < 2:
        return Spread(float(values[0]))
    mean, low, high = t_interval(values)
    return Spread(mean, max(0.0, low), min(1.0, high))
