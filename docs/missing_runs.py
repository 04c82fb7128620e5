"""What is still to be run of the claims on the page of papers, with the minutes that it takes."""

from __future__ import annotations

from collections.abc import Sequence

from deixis.engine.claims.pending import PendingClaim

__all__ = ["missing_runs"]

_SAID = """Nothing is said of a claim before its last run. `make claims MINUTES=100` runs what is missing in this order
and stops in order; finished runs are rows of `results/units.jsonl`, and any machine goes on from there. Minutes are of
one core: measured (`results/claim_cost.jsonl`), or what earlier rows took, those of a claim that is tried again in
proportion to the images seen. Trials beyond the edge of a grid come on top."""


def missing_runs(missing: Sequence[PendingClaim]) -> list[str]:
    """Paragraphs: nothing where nothing is missing.

    Args:
        missing: in the order in which it is run.
    """
    from docs.build import table

    if not missing:
        return []
    rows = [
        (
            each.paper,
            each.claim.statement,
            each.runs,
            _minutes(each.minutes),
            f"waits for `{each.waits}`" if each.waits else "rows are stale" if each.stale else "",
        )
        for each in missing
    ]
    return ["## Still to be run", _SAID, table(("paper", "claim", "runs", "minutes", ""), rows)]


def _minutes(minutes: float | None) -> str:
    if minutes is None:
        return "not measured"
    return f"{minutes:.0f}" if minutes >= 1 else "under 1"
