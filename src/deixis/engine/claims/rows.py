"""The rows that a tried claim adds to its records: one an arm and seed, and one verdict a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deixis.engine.claims.claims import TunedArm
from deixis.engine.claims.design import TUNING_SEED, Design, written
from deixis.engine.claims.outcomes import TrialResult
from deixis.engine.claims.records import CLAIM_KEYS, TRIAL_KEYS, VERDICT_KEYS, now
from deixis.engine.claims.trials import THREADS
from deixis.engine.claims.tuning import ends, require_equal
from deixis.engine.claims.verdicts import PairedComparison

__all__ = ["claim_rows", "trial_rows", "verdict_rows"]


def claim_rows(
    design: Design, tuned: Mapping[str, TunedArm], outcomes: Mapping[str, Sequence[TrialResult]]
) -> list[dict[str, Any]]:
    """One row an arm and seed; `value` is the metric at the end, and the curve stands in `config`.

    Args:
        design: of the claim.
        tuned: what the arms were reported with.
        outcomes: of `report`.

    Raises:
        DeixisError: the arms tried unequal numbers of settings.
    """
    require_equal({arm: len(tuned[arm].tried) for arm in outcomes})
    claim, date, rows = design.claim, now(), []
    inputs, codes = design.inputs, design.codes
    for arm, found in outcomes.items():
        trials = len(tuned[arm].tried) // (len(tuned[arm].own) or 1)
        for seed, outcome in enumerate(found, claim.first_seed):
            unit = design.unit(arm, tuned[arm].of(seed), seed, "test")
            config = {
                "claim": unit.claim,
                "inputs": inputs,
                "codes": codes,
                "threads": THREADS,
                "method": unit.method,
                **written(unit),
                "statistic": claim.statistic,
                "trials": trials,
                "edges": list(tuned[arm].edges),
                "curve": [list(point) for point in outcome.curve],
            }
            if outcome.curve[0][0] == 0:
                config["before"] = outcome.curve[0][1]
            if outcome.chance is not None:
                config["chance"] = outcome.chance
            if outcome.queries:
                config |= {"queries": outcome.queries, "part": outcome.part, "values": list(outcome.values)}
            if outcome.untrained:
                config["untrained"] = outcome.untrained
            if design.axis:
                config["axis"] = design.axis
            values = (design.paper, claim.statement, arm, seed, unit.metric, outcome.curve[-1][1], unit.budget)
            more = (claim.data, config, round(outcome.seconds, 1), outcome.commit, date)
            rows.append(dict(zip(CLAIM_KEYS, (*values, *more), strict=True)))
    return rows


def verdict_rows(design: Design, found: Mapping[str, PairedComparison]) -> list[dict[str, Any]]:
    """One row a baseline; of a ratio, `difference`, `low` and `high` are ratios, too."""
    claim, rows = design.claim, []
    for baseline, each in found.items():
        values = (design.paper, claim.statement, claim.metric, baseline, next(iter(claim.arms)), *each.interval)
        more = (each.seeds, claim.minimum_effect, each.verdict, design.commit, now())
        samples = (each.samples.low, each.samples.high) if each.samples is not None else (None, None)
        last = (each.adjusted, each.seeds_wanted, each.equal_seconds, *samples, list(each.notes))
        rows.append(dict(zip(VERDICT_KEYS, (*values, *more, *last), strict=True)))
    return rows


def trial_rows(design: Design, tuned: Mapping[str, TunedArm]) -> list[dict[str, Any]]:
    """One row a setting that was tried, with its value on validation and the lowest and highest of each field.

    Args:
        design: of the claim.
        tuned: of `tune`.
    """
    date, rows = now(), []
    for arm, each in tuned.items():
        edges = {name: list(pair) for name, pair in ends([setting for setting, _ in each.tried]).items()}
        grid = {name: list(values) for name, values in design.claim.arms[arm].grid.items()}
        count = len(each.tried) // (len(each.own) or 1)
        seeds = [seed for seed in each.own or (TUNING_SEED,) for _ in range(count)]
        for seed, (setting, value), outcome in zip(seeds, each.tried, each.runs, strict=True):
            unit = design.unit(arm, setting, seed, "validation")
            values = (design.paper, design.claim.statement, arm, unit.seed, unit.metric, setting, value)
            more = (round(outcome.seconds, 1), outcome.failed, setting == each.of(seed), edges, grid, unit.budget)
            rows.append(dict(zip(TRIAL_KEYS, (*values, *more, design.inputs, outcome.commit, date), strict=True)))
    return rows
