"""Whether an adapted model takes the place of the original, and how sure that is.

The values are those of concepts that neither trained an adapter nor chose its setting, each sample averaged over the
divisions that held it out, with intervals over concepts. A gain is tested on `TEST_STATISTIC`; what a person reads is
the gain in searches, whose interval is wider.

* adapted: both intervals lie above 0.
* probable: the gain is beyond chance, and its interval in searches holds 0. The adapted model is then saved only if
  nothing was forgotten outside.
* original: no gain beyond chance.
* untrusted: a control failed, so that the interval means nothing here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from deixis.engine.adaptation.adapt import AdaptationArm
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.ops.stats import Interval

__all__ = ["FORGOTTEN", "LEVEL", "Judgement", "Outcome", "has_effect", "judge", "lost_outside"]

Outcome = Literal["adapted", "probable", "original", "untrusted"]

LEVEL = 0.95
"""Of the interval of the test statistic that must lie above 0."""

FORGOTTEN = -0.01
"""What the lower end of the interval outside must stay above: a loss of one search in a hundred."""

_NEAR = 2.0
"""Monte-Carlo errors within which another seed may well decide otherwise."""

_FEWEST_CHANGES = 0.05


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What the values say.

    Attributes:
        outcome: the decision.
        borderline: whether other divisions of the same data may well lead to another one.
        evidence: the test statistic's gain, with the interval that decides.
        gain: that of the measure that a person reads.
        error: Monte-Carlo standard errors of the lower ends of `evidence` and `gain`.
    """

    outcome: Outcome
    borderline: bool
    evidence: Interval
    gain: Interval
    error: tuple[float, float]


def judge(arm: AdaptationArm, metric: str) -> Judgement:
    """Decides by the held-out values of an arm.

    Args:
        arm: its divisions, each with the setting chosen from the others.
        metric: the measure that a person reads.
    """
    evidence, gain = _intervals(arm, metric)
    lows = evidence.low, gain.low
    errors = _errors(arm, metric)
    near = [abs(low) < _NEAR * error for low, error in zip(lows, errors, strict=True)]
    outcome: Outcome = "original" if lows[0] <= 0 else "probable" if lows[1] <= 0 else "adapted"
    # Where there is no evidence, the interval of the gain decides nothing.
    borderline = near[0] or (lows[0] > 0 and near[1])
    return Judgement(outcome, borderline, evidence, gain, errors)


def _intervals(arm: AdaptationArm, metric: str) -> tuple[Interval, Interval]:
    return arm.evidence(TEST_STATISTIC, LEVEL), arm.gain(metric)


def _errors(arm: AdaptationArm, metric: str) -> tuple[float, float]:
    """The jackknife errors, over divisions, of both lower ends: how much they depend on which divisions were drawn."""
    count = len(arm.results)
    drawn = np.array([[each.low for each in _intervals(arm.without(index), metric)] for index in range(count)])
    first, second = ((count - 1) / count * ((drawn - drawn.mean(0)) ** 2).sum(0)) ** 0.5
    return float(first), float(second)


def lost_outside(forgotten: Mapping[str, Mapping[str, Interval]], metrics: Sequence[str]) -> list[str]:
    """The sets outside on which a loss of more than `FORGOTTEN` can't be ruled out by any of the metrics.

    Args:
        forgotten: set -> metric -> difference to the original.
        metrics: those that count.
    """
    return [name for name, of in forgotten.items() if any(of[metric].low < FORGOTTEN for metric in metrics)]


def has_effect(arm: AdaptationArm) -> bool:
    """Whether an arm changes the rank of more than one query in twenty: a recipe that is known to change a model and
    does not shows that the measure can't see a change."""
    changed = np.concatenate([result.difference[TEST_STATISTIC] != 0 for result in arm.results])
    return bool(changed.mean() > _FEWEST_CHANGES)
