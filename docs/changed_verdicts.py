"""Verdicts that came out otherwise when a claim was tried again, with both figures: the top of the page of papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deixis.engine.claims.verdicts import overall
from deixis.methods import Literals
from docs.tables import Row

__all__ = ["changed_verdicts"]


def changed_verdicts(methods: Sequence[Literals], verdicts: Sequence[Row]) -> list[str]:
    """Paragraphs: nothing where no verdict changed.

    Args:
        methods: those of the role `paper`.
        verdicts: rows of `results/verdicts.jsonl`, in order.
    """
    lines = []
    for method in methods:
        latest = {(row["claim"], row["baseline"]): row for row in verdicts if row["paper"] == method.name}
        for claim in method.claims:
            before, now = (
                {baseline: row for (statement, baseline), row in latest.items() if statement == each}
                for each in (claim.again, claim.statement)
            )
            if before and now:
                lines += [f"* {method.name}, {text}" for text in _differences(before, now)]
    if not lines:
        return []
    return ["## Verdicts that changed when a claim was tried again", "\n".join(lines)]


def _differences(before: Mapping[str, Row], now: Mapping[str, Row]) -> list[str]:
    """By baseline; where none has stayed, of the claims in all."""
    both = [baseline for baseline in now if baseline in before]
    if both:
        pairs = [(baseline, before[baseline], now[baseline]) for baseline in both]
        return [
            f"against {baseline}: {_figure(old)} became {_figure(new)}."
            for baseline, old, new in pairs
            if old["verdict"] != new["verdict"]
        ]
    old, new = (overall([row["verdict"] for row in rows.values()]) for rows in (before, now))
    if old == new:
        return []
    listed = ["; ".join(f"{_figure(row)} against {name}" for name, row in rows.items()) for rows in (before, now)]
    return [f"with other rivals: {old} became **{new}**. Before: {listed[0]}. Now: {listed[1]}."]


def _figure(row: Row) -> str:
    span = f"{row['difference']:.3g}, {row['low']:.3g} to {row['high']:.3g}"
    return f"**{row['verdict']}** ({span}, {row['seeds']} seeds, {row['date'][:10]})"
