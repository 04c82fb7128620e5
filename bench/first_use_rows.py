"""How long a new user waits for the first answer: rows of `results/first_use.jsonl`.

    python -m bench.first_use_rows           each command in a process of its own, some times

Commands are those of the documentation, on pictures of `set:photos`, after one `deixis data get` each; the wait is from
the start of the process to its end, files and all, with as many threads as it takes by itself. A row holds the median
and the longest wait, and whether the longest is below the limit of 10 s. The first run of all, before Python has
compiled what it imports, is a row's `first`. `processor` is the median of the processor's seconds, which other programs
hardly change: of a machine that is busy the wait says little.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.rows import ROOT, children_seconds, environment
from bench.startup import stopwatch
from deixis.data import catalogue

__all__ = ["COMMANDS", "first_use", "main"]

RESULTS = ROOT / "results" / "first_use.jsonl"
LIMIT = 10.0
"""Seconds that a new user may wait."""

COMMANDS = {
    "segment": ("darknet/dog.jpg", ("a dog", "grass")),
    "segment, one class": ("data/fruits.jpg", ("an orange",)),
    "read": ("text/scenetext01.jpg", ()),
    "read, a cut word": ("text/scenetext_word01.jpg", ()),
}
"""Name, of which the first word is the verb, -> a picture of the set, and words."""


def first_use(name: str, run: Callable[[], float], repeats: int) -> dict[str, Any]:
    """What a row says of a command.

    Args:
        name: of the command.
        run: runs it once and gives the seconds.
        repeats: how often it runs.
    """
    waits, worked = [], []
    for _ in range(repeats):
        before = children_seconds()
        waits.append(run())
        worked.append(children_seconds() - before)
    facts = {"first": waits[0], "median": statistics.median(waits), "longest": max(waits)}
    facts["processor"] = statistics.median(worked)
    rounded = {key: round(value, 2) for key, value in facts.items()}
    return {"command": name, **rounded, "repeats": repeats, "limit": LIMIT, "below": max(waits) < LIMIT}


def _command(name: str, pictures: Mapping[str, Path], out: str) -> list[str]:
    """The command line; what it writes goes to a folder that is thrown away."""
    picture, words = COMMANDS[name]
    verb = name.partition(",")[0]
    return [
        sys.executable,
        "-m",
        "deixis",
        verb,
        str(pictures[picture]),
        *words,
        "--out",
        f"{out}/{verb}.png",
        "--overwrite",
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the commands and appends a row each."""
    parser = argparse.ArgumentParser(prog="python -m bench.first_use_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--commands", nargs="*", choices=list(COMMANDS), default=list(COMMANDS), help="which to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    pictures = {each.id: each.picture for each in catalogue.read("photos").samples if isinstance(each.picture, Path)}
    place = environment(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    for name in chosen.commands:
        with tempfile.TemporaryDirectory() as out:
            row = {**first_use(name, stopwatch(_command(name, pictures, out), prints=False), chosen.repeats), **place}
        with open(chosen.results, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
