"""What one run of each arm takes, of claims that have no rows yet: reckoned from some steps of it.

Rows go to `results/claim_cost.jsonl`; `deixis claim` and the page of papers say by them how many minutes are missing.
Seconds are those of the processor, on one thread, so that what else runs beside does not count. Of settings the last of
each grid is measured, where those stand that train longest.
"""

from __future__ import annotations

import argparse
import functools
import math
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from bench.rows import ROOT
from deixis.engine.claims.design import TUNING_SEED, Design
from deixis.engine.claims.pending import missing_model, superseded
from deixis.engine.claims.records import COST_KEYS, Ledger, append_rows, claim_hash, now
from deixis.engine.claims.subprocess_pool import run_in_subprocesses
from deixis.engine.claims.trials import cost
from deixis.engine.claims.tuning import first_trials
from deixis.methods import list_methods, read

__all__ = ["main", "unmeasured"]

Split = Literal["validation", "test"]


def unmeasured(ledger: Ledger, papers: Sequence[str]) -> Iterator[tuple[Design, str, Split]]:
    """Arms and splits that are to be run and of which nobody measured how long.

    Args:
        ledger: with the rows that there are.
        papers: whose claims.
    """
    for paper in papers:
        for claim in read(paper).claims:
            known = ledger.rows(paper, claim_hash(claim)) or claim.statement in superseded(read(paper).claims)
            if known or missing_model(claim):
                continue
            for arm, one in claim.arms.items():
                tuned = math.prod(map(len, one.grid.values())) > 1 if one.grid else False
                there, alike = ledger.costs(claim_hash(claim), arm), claim.trial == 1 or not tuned
                splits: list[Split] = ["test"] if alike else ["validation", "test"]
                if alike and there:
                    continue
                yield from ((Design(paper, claim), arm, split) for split in splits if split not in there)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and appends a row an arm and split."""
    parser = argparse.ArgumentParser(prog="python -m bench.claim_cost", description=str(__doc__).splitlines()[0])
    parser.add_argument("--papers", nargs="*", default=list_methods(), help="only those of these methods")
    papers = parser.parse_args(arguments).papers
    ledger = Ledger(ROOT)
    commit = ledger.commit()
    if commit.endswith("+changes"):
        parser.error("the code is not as committed")
    with tempfile.TemporaryDirectory() as folder:
        for design, arm, split in unmeasured(ledger, papers):
            setting = first_trials({arm: design.claim.arms[arm].grid})[arm][-1]
            unit = design.unit(arm, setting, TUNING_SEED, split)
            run_in_subprocesses([functools.partial(cost, unit, Path(folder))])
            found = cost(unit, Path(folder))
            values: tuple[Any, ...] = (design.paper, claim_hash(design.claim), arm, split)
            more = (round(found.seconds, 2), round(found.measuring, 2), commit, now())
            append_rows(ledger.cost, [dict(zip(COST_KEYS, (*values, *more), strict=True))], COST_KEYS)
            print(f"{design.paper}, {arm} ({split}): {found.seconds / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    os.nice(10)
    main()
