"""What came out of the arms of a claim, from units or from rows, and what it is compared by.

Needs no torch: the page of papers reads rows with it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

import numpy as np

from deixis.engine.claims.curves import Statistic, effect, value_at
from deixis.engine.claims.verdicts import PairedComparison, judge
from deixis.errors import DeixisError
from deixis.ops.stats import Interval

__all__ = ["Cost", "TrialResult", "at_equal_seconds", "before"]
__all__ += ["judge_outcomes", "over_samples", "result_of", "why_dead"]

_DRAWS = 2000
_TWO_SIDED = 1.96


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """What came out of a unit.

    Attributes:
        curve: images seen (of few-shot claims, images a class) and the metric then.
        seconds: of training, without measuring; on a processor those that it worked, so that what else runs beside
            does not count.
        failed: why training ended early; empty where it did not. The curve then is empty.
        commit: of the code that gave it.
        values: of each query of the part that was measured, at the end; empty where they are not known.
        chance: what guessing gives; None where it is not known.
        queries: how many there are; 0 where that is not known.
        part: fingerprint of the part that was measured; empty where it is not known.
        untrained: why nothing was trained; the curve then is level. Empty where it was.
    """

    curve: tuple[tuple[float, float], ...]
    seconds: float
    failed: str = ""
    commit: str = ""
    values: tuple[float, ...] = ()
    chance: float | None = None
    queries: int = 0
    part: str = ""
    untrained: str = ""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a unit takes.

    Attributes:
        seconds: from beginning to end.
        cores: how many are busy meanwhile.
        measuring: seconds of it that pass without training: all there are where another unit trains the same.
    """

    seconds: float
    cores: float
    measuring: float = 0.0


def result_of(row: Mapping[str, Any]) -> TrialResult:
    """The result that a row of `results/claims.jsonl` was made of, as far as the row says."""
    config = row["config"]
    values = tuple(config.get("values", ()))
    return TrialResult(
        tuple((float(x), float(y)) for x, y in config["curve"]),
        row["seconds"],
        commit=row["commit"],
        values=values,
        chance=config.get("chance"),
        queries=config.get("queries", len(values)),
        part=config.get("part", ""),
        untrained=config.get("untrained", ""),
    )


def before(found: Sequence[TrialResult]) -> float | None:
    """The mean of the metric before training; None where the curves do not begin there."""
    return mean(each.curve[0][1] for each in found) if all(each.curve[0][0] == 0 for each in found) else None


def why_dead(found: Sequence[TrialResult]) -> str:
    """Why an arm counts as one that did not learn; empty where it did.

    It did not where nothing was trained; where it ends, on average, below where it began; or where with one seed or
    more it ends within what guessing gives, which is up to the upper 95 % limit of guesses on so many queries.

    Args:
        found: one a seed.
    """
    start, ends = before(found), [each.curve[-1][1] for each in found]
    if refused := next((each.untrained for each in found if each.untrained), ""):
        return refused
    if start is not None and mean(ends) < start:
        return f"it ends at {mean(ends):.3g}, below the {start:.3g} that it began with"
    for each in found:
        chance, end = each.chance, each.curve[-1][1]
        if chance is None:
            continue
        spread = math.sqrt(chance * (1 - chance) / each.queries) if each.queries and 0 < chance < 1 else 0.0
        if end <= chance + _TWO_SIDED * spread:
            return f"it ends within chance ({end:.3g}, where guessing gives {chance:.3g})"
    return ""


def at_equal_seconds(outcomes: Mapping[str, Sequence[TrialResult]]) -> dict[str, list[float]]:
    """Arm -> the metric, one a seed, when the fastest arm was done."""
    seconds = [min(each.seconds for each in seed) for seed in zip(*outcomes.values(), strict=True)]
    return {
        arm: [
            value_at(each.curve, each.curve[-1][0] * (end / each.seconds if each.seconds else 1.0))
            for each, end in zip(found, seconds, strict=True)
        ]
        for arm, found in outcomes.items()
    }


def over_samples(ours: Sequence[TrialResult], theirs: Sequence[TrialResult], seed: int = 0) -> Interval | None:
    """The mean difference at the end with a percentile interval that resamples queries beside seeds.

    Where all seeds are measured on one part, its queries are drawn once for all seeds of a draw (the pigeonhole
    bootstrap); else for each seed by themselves. None where the results hold no values, or not the same queries.

    Source: Owen, The Pigeonhole Bootstrap, Annals of Applied Statistics 1 (2007).

    Args:
        ours: of the first arm, one a seed.
        theirs: of a baseline, with the same seeds.
        seed: of the draws.
    """
    return _over_samples(tuple(ours), tuple(theirs), seed)


@functools.lru_cache(128)  # pages ask the same of the same rows several times
def _over_samples(ours: tuple[TrialResult, ...], theirs: tuple[TrialResult, ...], seed: int) -> Interval | None:
    pairs = list(zip(ours, theirs, strict=True))
    if any(not a.values or len(a.values) != len(b.values) or a.part != b.part for a, b in pairs):
        return None
    gaps = [np.array(a.values) - np.array(b.values) for a, b in pairs]
    rng, count = np.random.default_rng(seed), len(gaps)
    weights = rng.multinomial(count, np.full(count, 1 / count), _DRAWS) / count
    one_part = len({a.part for a, _ in pairs}) == 1 and bool(pairs[0][0].part) and len({len(gap) for gap in gaps}) == 1
    drawn = [_means(gaps, rng)] if one_part else [_means([gap], rng) for gap in gaps]
    draws = (weights * np.concatenate(drawn, axis=1)).sum(1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(np.mean([gap.mean() for gap in gaps])), float(low), float(high))


def _means(gaps: Sequence[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The means of resampled queries, the same ones of all gaps in a draw [draws, seeds]."""
    count = len(gaps[0])
    columns = np.stack(gaps, axis=1)
    # Places, not how often each comes: a multinomial of a thousand queries takes ten times as long to draw.
    return np.stack([columns[rng.integers(0, count, count)].mean(0) for _ in range(_DRAWS)])


def judge_outcomes(
    outcomes: Mapping[str, Sequence[TrialResult]], statistic: Statistic, minimum_effect: float
) -> dict[str, PairedComparison]:
    """Baseline -> what the seeds say of the first arm against it.

    Args:
        outcomes: arm -> one result a seed, the same seeds in all; the first arm is the paper's.
        statistic: what is compared.
        minimum_effect: the smallest effect worth having.

    Raises:
        DeixisError: arms were measured on different parts with the same seed.
    """
    _require_one_part(outcomes)
    first, *baselines = outcomes
    ours, dead = outcomes[first], {arm: why_dead(found) for arm, found in outcomes.items()}
    differences, samples = {}, {}
    for arm in baselines:
        pairs = zip(ours, outcomes[arm], strict=True)
        differences[arm] = [effect(statistic, a.curve, b.curve).value for a, b in pairs]
        samples[arm] = over_samples(ours, outcomes[arm]) if statistic == "final" else None
    found = judge(
        differences,
        minimum_effect,
        ratio=statistic == "ratio",
        dead={arm: dead[arm] for arm in baselines},
        samples=samples,
    )
    notes = {arm: (*_without_spread(outcomes, (first, arm)), *_dead_notes(first, arm, dead)) for arm in baselines}
    equal = at_equal_seconds(outcomes) if before(ours) is not None else {}
    return {
        arm: dataclasses.replace(
            each,
            notes=(*each.notes, *notes[arm]),
            equal_seconds=mean(equal[first]) - mean(equal[arm]) if equal else None,
        )
        for arm, each in found.items()
    }


def _require_one_part(outcomes: Mapping[str, Sequence[TrialResult]]) -> None:
    for seed in zip(*outcomes.values(), strict=True):
        parts = {arm: each.part for arm, each in zip(outcomes, seed, strict=True) if each.part}
        if len(set(parts.values())) > 1:
            raise DeixisError(
                f"With the same seed the arms {' and '.join(parts)} were measured on different samples: "
                f"{', '.join(parts.values())}.",
                "Some runs are of older data: delete their files in the run folder, and run the same command again.",
            )


def _without_spread(outcomes: Mapping[str, Sequence[TrialResult]], arms: Sequence[str]) -> list[str]:
    fixed = [arm for arm in arms if len({each.curve[-1][1] for each in outcomes[arm]}) == 1]
    return [
        f"{arm} is the same with every seed, so that the interval over seeds says nothing of how it would do on other "
        "test samples"
        for arm in fixed
    ]


def _dead_notes(first: str, arm: str, dead: Mapping[str, str]) -> list[str]:
    if dead[first] and dead[arm]:
        return [f"nobody learned it: of {first}, {dead[first]}; of {arm}, {dead[arm]}"]
    if dead[arm]:
        return [f"the rival did not learn: {dead[arm]}"]
    return [f"{first} did not learn: {dead[first]}"] if dead[first] else []
