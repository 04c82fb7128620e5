"""From paired differences to one of five verdicts, with what the seeds could have detected."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from deixis.ops.stats import Interval, chance_of_gain, holm, paired_p, t_interval

__all__ = [
    "LEAST_SEEDS",
    "LEVEL",
    "POWER",
    "PairedComparison",
    "Verdict",
    "detectable",
    "judge",
    "overall",
    "seeds_to_settle",
    "verdict",
]

Verdict = Literal["shown", "not shown", "reversed", "inconclusive", "void"]

LEAST_SEEDS = 5
"""Seeds below which no verdict is recorded."""

LEVEL = 0.05
"""Above which Holm-adjusted p no difference is shown."""

POWER = 0.8
"""The chance that is meant by "would be detected" and "would settle it"."""

_MOST_SEEDS = 1000
"""Beyond which nobody trains that many."""


@dataclasses.dataclass(frozen=True)
class PairedComparison:
    """What the seeds say of the first arm and one baseline.

    Attributes:
        interval: the mean difference with its paired t interval at 95 %; a ratio where `ratio`.
        p: two-sided, of no difference.
        adjusted: that after Holm's correction over the claim's baselines.
        verdict: by the rules of `verdict`.
        seeds: how many pairs there are.
        minimum_effect: the smallest effect worth having.
        visible: the smallest true effect of which so many seeds, of this spread, give *shown* with a chance of `POWER`.
        seeds_wanted: how many would settle an inconclusive verdict with that chance if difference and spread are what
            was measured; None where no number that can be trained would.
        ratio: whether effects are ratios, 1 being none.
        samples: the interval of the mean difference over seeds and test samples; None where it is not known.
        equal_seconds: the mean difference of the metric when the fastest arm was done; None where curves do not run
            over training.
        notes: what has to be said of it: arms that did not learn, intervals without spread.
    """

    interval: Interval
    p: float
    adjusted: float
    verdict: Verdict
    seeds: int
    minimum_effect: float
    visible: float
    seeds_wanted: int | None
    ratio: bool = False
    samples: Interval | None = None
    equal_seconds: float | None = None
    notes: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The finding in words."""
        value, low, high = (f"{each:.3g} times" if self.ratio else f"{each:+.3g}" for each in self.interval)
        text = (
            f"{self.verdict}: {value}, 95 % interval {low} to {high}, {self.seeds} seeds, p {self.adjusted:.2g} after "
            f"Holm; smallest effect worth having {self.minimum_effect:g}"
        )
        if self.samples is not None:
            text += f"; over seeds and test samples {self.samples.low:+.3g} to {self.samples.high:+.3g}"
        if self.equal_seconds is not None:
            text += f"; at equal seconds {self.equal_seconds:+.3g}"
        text = "; ".join([text, *self.notes])
        if self.verdict != "inconclusive":
            return text
        wanted = (
            f"about {self.seeds_wanted} seeds would settle it"
            if self.seeds_wanted
            else "the difference is so near to the smallest one worth having that no number of seeds would settle it"
        )
        return f"{text}. A true effect of {self.visible:.3g} would be detected {POWER:.0%} of the time; {wanted}"


def verdict(interval: Interval, minimum_effect: float, adjusted: float = 0.0) -> Verdict:
    """The verdict on a difference from a rival that learned.

    * shown: the interval lies above 0, the adjusted p below `LEVEL`, and the estimate reaches the smallest effect worth
      having.
    * reversed: the interval lies below 0, and the adjusted p below `LEVEL`.
    * not shown: the interval lies below the smallest effect worth having.
    * inconclusive: none of these.

    Args:
        interval: of the difference.
        minimum_effect: the smallest one worth having.
        adjusted: p of no difference, after Holm's correction.
    """
    if interval.low > 0 and interval.value >= minimum_effect and adjusted < LEVEL:
        return "shown"
    if interval.high < 0 and adjusted < LEVEL:
        return "reversed"
    return "not shown" if interval.high < minimum_effect else "inconclusive"


def judge(
    differences: Mapping[str, Sequence[float]],
    minimum_effect: float,
    *,
    ratio: bool = False,
    dead: Mapping[str, str] | None = None,
    samples: Mapping[str, Interval | None] | None = None,
) -> dict[str, PairedComparison]:
    """Judges the first arm against each baseline.

    Args:
        differences: baseline -> one difference a seed, the same seeds in all; logarithms where `ratio`.
        minimum_effect: the smallest effect worth having: above 0, for a ratio above 1.
        ratio: whether effects are ratios.
        dead: baseline -> why it did not learn; empty where it did. The verdict against one that did not is void.
        samples: baseline -> the interval over seeds and test samples, which decides where all seeds agree.

    Raises:
        ValueError: fewer than two seeds, a value that is not finite, or a smallest effect that is none.
    """
    if not minimum_effect > (1 if ratio else 0):
        raise ValueError(f"the smallest effect worth having is {minimum_effect}; it must be above {int(ratio)}.")
    names = list(differences)
    ps = [paired_p(differences[name]) for name in names]
    adjusted = [float(each) for each in holm(ps)]
    return {
        name: _void(
            _finding(differences[name], p, after, (minimum_effect, ratio), (samples or {}).get(name)), dead, name
        )
        for name, p, after in zip(names, ps, adjusted, strict=True)
    }


def _void(found: PairedComparison, dead: Mapping[str, str] | None, name: str) -> PairedComparison:
    if not (dead or {}).get(name):
        return found
    return dataclasses.replace(found, verdict="void", seeds_wanted=None)


def _finding(
    values: Sequence[float], p: float, adjusted: float, wanted: tuple[float, bool], samples: Interval | None
) -> PairedComparison:
    minimum_effect, ratio = wanted
    least = math.log(minimum_effect) if ratio else minimum_effect
    interval, spread, count = t_interval(values), float(np.std(values, ddof=1)), len(values)
    same = interval.low == interval.high
    found = verdict(samples if same and samples is not None else interval, least, adjusted)
    visible = detectable(spread, count, least)
    return PairedComparison(
        interval=Interval(*map(math.exp, interval)) if ratio else interval,
        p=p,
        adjusted=adjusted,
        verdict=found,
        seeds=count,
        minimum_effect=minimum_effect,
        visible=math.exp(visible) if ratio else visible,
        seeds_wanted=seeds_to_settle(interval.value, spread, least, count) if found == "inconclusive" else None,
        ratio=ratio,
        samples=samples,
        notes=("all seeds agree, so that the interval over seeds has no width",) if same else (),
    )


def detectable(spread: float, seeds: int, minimum_effect: float, power: float = POWER) -> float:
    """The smallest true effect that gives *shown* with a chance of `power`, by halving.

    It is above the smallest effect worth having: at that itself, half of all estimates fall short of it.
    """
    low, high = 0.0, minimum_effect + 2 * spread
    while chance_of_gain(high, spread, seeds, minimum_effect) < power:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        enough = chance_of_gain(middle, spread, seeds, minimum_effect) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high


def seeds_to_settle(difference: float, spread: float, minimum_effect: float, more_than: int = 1) -> int | None:
    """The fewest seeds that give another verdict than *inconclusive* with a chance of `POWER`.

    Args:
        difference: the true one, as far as is known.
        spread: its standard deviation over seeds.
        minimum_effect: the smallest worth having.
        more_than: seeds there are already, which did not settle it.

    Returns:
        None where more than a thousand would be needed.
    """

    def settled(seeds: int) -> bool:
        shown = chance_of_gain(difference, spread, seeds, minimum_effect)
        # That the interval lies below the smallest effect is a gain of that effect over the difference.
        return shown + chance_of_gain(minimum_effect - difference, spread, seeds) >= POWER

    low, high = max(more_than, 1), _MOST_SEEDS
    if low >= high or not settled(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if settled(middle) else (middle, high)
    return high


def overall(verdicts: Sequence[Verdict]) -> Verdict:
    """The verdict on a claim with several baselines, all of which it must beat."""
    for bad in ("reversed", "not shown", "void", "inconclusive"):
        if bad in verdicts:
            return bad  # type: ignore[return-value]
    return "shown"
