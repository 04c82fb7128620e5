"""The rows that a tried claim adds to its records: one an arm and seed, and one verdict a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deixis.engine.claims.claims import Design, TunedArm
from deixis.engine.claims.records import CLAIM_KEYS, VERDICT_KEYS, now
from deixis.engine.claims.trials import TrialResult
from deixis.engine.claims.verdicts import PairedComparison

__all__ = ["claim_rows", "verdict_rows"]


def claim_rows(
    design: Design, tuned: Mapping[str, TunedArm], outcomes: Mapping[str, Sequence[TrialResult]]
) -> list[dict[str, Any]]:
    """One row an arm and seed; `value` is the metric at the end, and the curve stands in `config`.

    Args:
        design: of the claim.
        tuned: what the arms were reported with.
        outcomes: of `report`.
    """
    claim, date, rows = design.claim, now(), []
    for arm, found in outcomes.items():
        trials, unit = len(tuned[arm].tried), design.unit(arm, tuned[arm].setting, 0, "test")
        for seed, outcome in enumerate(found):
            config = {
                "claim": unit.claim,
                "inputs": design.inputs,
                "method": unit.method,
                "settings": dict(unit.settings),
                "options": dict(unit.options),
                "statistic": claim.statistic,
                "trials": trials,
                "edges": list(tuned[arm].edges),
                "curve": [list(point) for point in outcome.curve],
            }
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
        rows.append(dict(zip(VERDICT_KEYS, (*values, *more), strict=True)))
    return rows
