"""Keeps what the demo found: `python -m bench.demo_rows runs/demo/summary.json` appends a row to `results/demo.jsonl`.

The row is the summary without what is found again in it: values by split stay in the run folder.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from bench.rows import RESULTS, environment

__all__ = ["main"]

KEPT = (
    "sentence",
    "seed",
    "verdict",
    "data",
    "kept",
    "bars",
    "forgotten",
    "training_seeds",
    "t_interval",
    "seconds",
    "peak_mb",
    "versions",
)
METRICS = ("mean_r1", "mean_r10", "mean_mrr")


def main(arguments: Sequence[str] | None = None) -> None:
    """Appends the row."""
    parser = argparse.ArgumentParser(prog="python -m bench.demo_rows", description=__doc__.splitlines()[0])
    parser.add_argument("summary", type=Path, help="what `make demo` wrote")
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("demo.jsonl"), help="for the row")
    given = parser.parse_args(arguments)
    summary = json.loads(given.summary.read_text(encoding="utf-8"))
    arms = {
        arm: {part: {name: values[name] for name in METRICS} for part, values in parts.items() if part != "kept"}
        for arm, parts in summary["arms"].items()
    }
    row = {**{key: summary[key] for key in KEPT}, "arms": arms, **environment(1)}
    with open(given.results, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
