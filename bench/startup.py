"""Race `startup`: how long a command line and an import take to answer, against open_clip's.

Each side runs as a fresh process; the time is that of the whole process. What is printed differs, so there is nothing
to compare but that both sides succeed and print something where they should. Ours loads torch only when something needs
it, the peer's always: `encoder` is the case where both load it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.rows import RESULTS, Race, alternate, append_row, child_environment, environment, make_row

__all__ = ["CASES", "RACE", "main"]

RACE = Race(
    measures="Until a command line or an import answers",
    peers=("open_clip",),
    equal="both sides succeed, and print where they should",
)

_DEIXIS = str(Path(sys.executable).with_name("deixis"))
_LIST = "import open_clip; print(*open_clip.list_models(), sep=chr(10))"

# case -> our command, the peer's command, whether something must be printed
CASES: dict[str, tuple[list[str], list[str], bool]] = {
    "help": ([_DEIXIS, "--help"], [sys.executable, "-m", "open_clip_train.main", "--help"], True),
    "list": ([_DEIXIS, "list"], [sys.executable, "-c", _LIST], True),
    "import": ([sys.executable, "-c", "import deixis"], [sys.executable, "-c", "import open_clip"], False),
    "encoder": ([sys.executable, "-c", "import deixis.nn.dual"], [sys.executable, "-c", "import open_clip"], False),
}


def stopwatch(command: Sequence[str], prints: bool) -> Callable[[], float]:
    """A function that runs `command` once and returns its seconds; a failing command ends the race."""
    surroundings = child_environment()

    def run() -> float:
        start = time.perf_counter()
        done = subprocess.run(command, env=surroundings, capture_output=True, text=True)
        seconds = time.perf_counter() - start
        if done.returncode or (prints and not done.stdout.strip()):
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        return seconds

    return run


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="measurements a side (default 9, at least 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    if chosen.repeats < 7:
        parser.error("fewer than 7 measurements say too little")
    peer = {"peer": "open_clip", "peer_version": importlib.metadata.version("open_clip_torch")}
    for name in chosen.cases:
        ours, theirs, prints = CASES[name]
        timings = alternate(stopwatch(ours, prints), stopwatch(theirs, prints), chosen.repeats)
        row = make_row(
            {"race": "startup", "case": name, **peer},
            timings,
            unit="s",
            equal=None,
            surroundings=environment(threads=os.cpu_count() or 1),
        )
        append_row(row, chosen.results)


if __name__ == "__main__":
    main()
