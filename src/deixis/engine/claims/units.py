"""Instalments of claims: finished units are rows of `results/units.jsonl`, and any machine goes on from there."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deixis.engine.claims.design import Design, written
from deixis.engine.claims.outcomes import TrialResult
from deixis.engine.claims.records import UNIT_KEYS, Ledger, now
from deixis.engine.claims.trials import Trial
from deixis.errors import DeixisError
from deixis.files import write_json

__all__ = ["Instalment", "restore"]


class Instalment:
    """A share of the work on claims: it stops in order when its time is over.

    Args:
        minutes: after which no further unit is started.
        ledger: where finished units are stored; None: they stay in the run folder.

    Raises:
        DeixisError: there is no time at all.
    """

    def __init__(self, minutes: float, ledger: Ledger | None) -> None:
        if not minutes > 0:
            raise DeixisError(f"minutes is {minutes:g}.", "Give a number above 0, or leave --minutes out.")
        self._end, self._ledger = time.monotonic() + 60 * minutes, ledger
        self.stored = {row["name"] for row in ledger.units_of()} if ledger is not None else set[str]()

    def over(self) -> bool:
        """Whether the time is over."""
        return time.monotonic() >= self._end

    def store(self, unit: Trial, result: TrialResult) -> None:
        """Adds a finished unit to the rows, once."""
        if self._ledger is None or unit.name in self.stored:
            return
        self.stored.add(unit.name)
        which = (unit.paper, unit.claim, unit.arm, unit.seed, unit.split)
        what = (written(unit)["settings"], unit.name, unit.code, dataclasses.asdict(result), result.commit, now())
        self._ledger.add_unit(dict(zip(UNIT_KEYS, (*which, *what), strict=True)))


def restore(ledger: Ledger, designs: Sequence[Design], folder: Path) -> list[str]:
    """Writes the files of units that were finished elsewhere, where they are missing.

    Args:
        ledger: with the rows of units.
        designs: of the claims that are tried.
        folder: of the runs; each paper has its own in it.

    Returns:
        Units of these claims that other code gave, in words; they are not used.

    Raises:
        DeixisError: a unit is there twice.
    """
    codes = {(one.paper, claim): code for one in designs for claim, code in _codes(one)}
    refused = []
    for row in ledger.units_of():
        code = codes.get((row["paper"], row["claim"]), {}).get(row["arm"])
        if code is None:
            continue
        if code != row["code"]:
            refused.append(f"{row['arm']}, seed {row['seed']} ({row['split']}), of commit {row['commit']}")
            continue
        path = folder / row["paper"] / f"{row['name']}.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, {"unit": {"name": row["name"]}, **row["result"]})
    return refused


def _codes(design: Design) -> list[tuple[str, Mapping[str, str]]]:
    units = {arm: design.unit(arm, {}, 0, "test") for arm in design.chosen}
    return [(next(iter(units.values())).claim, {arm: unit.code for arm, unit in units.items()})] if units else []
