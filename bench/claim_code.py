"""Which rows of claims still hold though code was rewritten: each arm is run anew at the commit of its rows and now.

An arm is trained for a few steps (of tasks without steps, measured on a part) with the settings of its rows, in a
process of its own on one thread, once with the source of each commit. A claim whose arms all come out equal, in each
weight and each number of their curves, bit by bit, gets a row in `results/claim_code.jsonl`: the inputs that its rows
were written with, and the code of its methods that computes the same. `deixis claim --all` counts these rows as up to
date. A claim that comes out otherwise gets no row, and is to be tested again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.rows import ROOT, child_environment
from deixis.engine.claims.design import Design
from deixis.engine.claims.records import CODE_KEYS, Ledger, append_rows, claim_hash, now
from deixis.files import cache_dir
from deixis.methods import list_methods, read

__all__ = ["main"]

STEPS = 4
PARTS = {"explained": 5, "few_shot": 16}
"""Of tasks without steps: which part of the budget is measured, 1 in so many."""

_CHILD = """
import dataclasses, hashlib, inspect, json, sys, tempfile
from pathlib import Path
import torch
torch.set_num_threads(1)
try:
    from deixis.engine.claims import trials
    Unit, run, lab, task = trials.Trial, trials.run_trial, trials.BACKEND, "task"
except ImportError:  # the names before the move
    from deixis.engine import trials
    Unit, run, lab, task = trials.Unit, trials.run_unit, trials.LAB, "arena"
facts = json.load(sys.stdin)
facts[task] = facts.pop("data")
make = getattr(lab, task)
trunk = facts["options"].pop("trunk", None)
made = make(facts[task], facts["options"], facts["seed"])
if trunk:  # as it is before it is trained
    facts["options"]["trunk"] = {**trunk, "budget": 0}
stepwise = hasattr(made, "batch_size")
facts["budget"] = facts["steps"] * made.batch_size if stepwise else facts["budget"] // facts["part"]
del facts["steps"], facts["part"]
lab = dataclasses.replace(lab, **{task: lambda *arguments: made})
with tempfile.TemporaryDirectory() as folder:
    found = run(Unit(**facts), Path(folder), lab)
    digest = hashlib.sha256()
    weights = sorted(Path(folder, "trained").glob("*.safetensors"))
    for path in weights:
        from safetensors.torch import load_file
        for name, value in sorted(load_file(path).items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
print(json.dumps({"curve": found.curve, "weights": digest.hexdigest() if weights else ""}))
"""


def arms(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What is run for a claim: one unit an arm, with the settings of its rows and the first seed."""
    first = {row["arm"]: row for row in reversed(rows)}
    return [
        {
            "paper": row["paper"],
            "claim": row["config"]["claim"],
            "arm": arm,
            "method": row["config"]["method"],
            "settings": row["config"]["settings"],
            "options": row["config"]["options"],
            "metric": row["metric"],
            "budget": row["budget"],
            "seed": row["seed"],
            "split": "test",
            "points": 2,
            "data": row["data"],
            "steps": STEPS,
            "part": PARTS.get(row["data"], 1),
        }
        for arm, row in first.items()
    ]


class Sources:
    """The source of commits, unpacked on first use; each has a cache of its own, with the fetched data of the user's.

    Args:
        folder: where they are unpacked.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[tuple[str, str], dict[str, Any]] = {}

    def run(self, commit: str, unit: Mapping[str, Any]) -> dict[str, Any]:
        """What comes out of a unit with the source of a commit."""
        text = json.dumps({**unit, "paper": "", "claim": "", "arm": ""}, sort_keys=True)
        if (commit, text) not in self._done:
            place = self._place(commit)
            surroundings = {
                **child_environment(),
                "PYTHONPATH": str(place / "src"),
                "DEIXIS_CACHE": str(place / "cache"),
                "OMP_NUM_THREADS": "1",
            }
            command = [sys.executable, "-c", _CHILD]
            done = subprocess.run(command, input=text, capture_output=True, text=True, env=surroundings, cwd=place)
            if done.returncode:
                raise SystemExit(f"{unit['arm']} with the source of {commit}: {done.stderr.strip()[-800:]}")
            self._done[commit, text] = json.loads(done.stdout.splitlines()[-1])
        return self._done[commit, text]

    def _place(self, commit: str) -> Path:
        place = self._folder / commit
        if not place.exists():
            (place / "cache").mkdir(parents=True)
            for name in ("sets", "starter", "clip-bpe"):
                (place / "cache" / name).symlink_to(cache_dir() / name)
            archive = subprocess.run(["git", "archive", commit, "src"], cwd=ROOT, capture_output=True, check=True)
            subprocess.run(["tar", "-x", "-C", str(place)], input=archive.stdout, check=True)
        return place


def claims(ledger: Ledger, papers: Sequence[str]) -> Iterator[tuple[Any, list[dict[str, Any]]]]:
    """Claims with their rows, by the inputs these were written with."""
    for paper in papers:
        for claim in read(paper).claims:
            rows = ledger.rows(paper, claim_hash(claim))
            for inputs in dict.fromkeys(row["config"]["inputs"] for row in rows):
                yield claim, [row for row in rows if row["config"]["inputs"] == inputs]


def main(arguments: Sequence[str] | None = None) -> None:
    """Compares, and appends a row a claim whose arms are all equal."""
    parser = argparse.ArgumentParser(prog="python -m bench.claim_code", description=__doc__.splitlines()[0])
    parser.add_argument("--papers", nargs="*", default=list_methods(), help="only those of these methods")
    papers = parser.parse_args(arguments).papers
    ledger = Ledger(ROOT)
    commit = ledger.commit()
    if commit.endswith("+changes"):
        parser.error("the code is not as committed")
    with tempfile.TemporaryDirectory() as folder:
        sources = Sources(Path(folder))
        for claim, rows in claims(ledger, papers):
            inputs, paper = rows[0]["config"]["inputs"], rows[0]["paper"]
            codes = Design(paper, claim).codes
            if ledger.computes_the_same(inputs, codes):
                continue
            unequal = [
                unit["arm"] for unit in arms(rows) if sources.run(rows[0]["commit"], unit) != sources.run(commit, unit)
            ]
            print(f"{paper}: {claim.statement} {f'unequal: {unequal}' if unequal else 'equal'}", flush=True)
            if not unequal:
                values = (paper, claim.statement, inputs, codes, rows[0]["commit"], commit, now())
                append_rows(ledger.code, [dict(zip(CODE_KEYS, values, strict=True))], CODE_KEYS)


if __name__ == "__main__":
    os.nice(10)
    main()
