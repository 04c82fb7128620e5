"""How a race is run and written down: A B A B in one run, medians, one row a case with fixed keys."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from deixis.types.literals import read_literal

__all__ = [
    *(
        "CLOCKS",
        "KEYS",
        "LIMIT",
        "RESULTS",
        "Race",
        "Timings",
        "added_memory",
        "alternate",
        "append_row",
        "append_time_and_memory",
        "child_environment",
        "clock_name",
        "clock_parser",
        "counts_parser",
        "environment",
    ),
    *("limit_row", "make_row", "measure_apart", "measure_in_turn", "product_of", "races", "seconds_of", "stream_of"),
]

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "results" / "bench.jsonl"
KEYS = (
    *("race", "case", "peer", "peer_version", "unit", "ours", "theirs", "ratio", "spread", "repeats", "equal"),
    *("threads", "cpu", "commit", "date"),
)


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}
"""Name of a clock -> its seconds: those that pass, or those of the processor, fairer where other programs run."""

LIMIT = "limit"
"""The peer that is no library but this machine: the part of the work that nobody can leave out, done alone. A ratio of
0.8 says that ours takes a quarter longer; 1 can hardly be reached."""


class Race(NamedTuple):
    """What the file of a race declares as `RACE`, a literal.

    Attributes:
        measures: in a few words.
        peers: against whom, as rows name them; none where nobody could be asked the same.
        equal: what must be equal before anything is timed.
    """

    measures: str
    peers: tuple[str, ...]
    equal: str


class Timings(NamedTuple):
    """Measurements of both sides; the i-th of each were taken one after the other."""

    ours: Sequence[float]
    theirs: Sequence[float]


def races() -> dict[str, Race]:
    """The races there are, by name: the files of this folder that declare one."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("*.py")):
        if "\nRACE = " in path.read_text(encoding="utf-8"):
            found[path.stem] = _race(path)
    return found


@functools.cache
def _race(path: Path) -> Race:
    race: Race = read_literal(path, "RACE", {"Race": Race})
    return race


def alternate(ours: Callable[[], float], theirs: Callable[[], float], repeats: int, warmup: int = 1) -> Timings:
    """Measures both sides in turn, so that what slows the machine for a while slows both.

    Args:
        ours: runs our side once and returns what was measured.
        theirs: the same of the peer.
        repeats: how often each is measured.
        warmup: how often each runs before, unmeasured.
    """
    for _ in range(warmup):
        ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(repeats)]
    return Timings(*zip(*pairs, strict=True))


def child_environment() -> dict[str, str]:
    """The user's, less two settings that some machines carry for old builds of OpenBLAS and that slow new ones."""
    return {key: value for key, value in os.environ.items() if key not in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")}


def children_seconds() -> float:
    """The processor's seconds of all processes that this one started and that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


def measure_apart(module: str, *arguments: str) -> dict[str, Any]:
    """Runs `python -m MODULE ARGUMENTS` from the root of the repository; gives the JSON object it prints last."""
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=child_environment())
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def added_memory(work: Callable[[], Any]) -> float:
    """MB (10^6 bytes) that this process holds in the worst moment of `work` beyond what it holds before it.

    The kernel's mark of the highest is taken back first, so that what was held earlier does not count (Linux). At least
    0.1 MB: what finds room in memory that is held already can't be told from nothing.
    """
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    before = _resident("VmRSS")
    work()
    return max(0.1, _resident("VmHWM") - before)


def _resident(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(f"{field}:"))


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip() if done.returncode == 0 else ""


def _cpu() -> str:
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:
        pass
    return f"{model}, {os.cpu_count()} cores"


def _commit() -> str:
    commit = _run("git", "rev-parse", "--short=12", "HEAD")
    changed = _run("git", "status", "--porcelain", "--untracked-files=no", "--", "src", "bench", "pyproject.toml")
    return f"{commit}+changes" if commit and changed else commit


def environment(threads: int) -> dict[str, Any]:
    """Where and when a row was measured; `commit` is empty without one and ends in `+changes` on a changed tree."""
    now = datetime.datetime.now(datetime.UTC)
    return {"threads": threads, "cpu": _cpu(), "commit": _commit(), "date": now.isoformat(timespec="seconds")}


def make_row(
    case: Mapping[str, str], timings: Timings, *, unit: str, equal: bool | None, surroundings: Mapping[str, Any]
) -> dict[str, Any]:
    """One row of results.

    `ratio` is how many times better ours is: the median of the paired ratios, turned so that above 1 is a win (units
    that end in `/s` are rates, all others costs). `spread` holds the quartiles of the paired ratios.

    Args:
        case: `race`, `case`, `peer` and `peer_version`.
        timings: of both sides, in `unit`.
        unit: `s`, `MB`, `images/s`...
        equal: whether the outputs of both sides were compared and are equal; None where there is nothing to compare.
        surroundings: as `environment` gives them.
    """
    rate = unit.endswith("/s")
    ratios = [a / b if rate else b / a for a, b in zip(*timings, strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    row = {
        **case,
        "unit": unit,
        "ours": _short(statistics.median(timings.ours)),
        "theirs": _short(statistics.median(timings.theirs)),
        "ratio": _short(statistics.median(ratios)),
        "spread": [_short(low), _short(high)],
        "repeats": len(ratios),
        "equal": equal,
        **surroundings,
    }
    return {key: row[key] for key in KEYS}


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def limit_row(
    race: str, case: str, timings: Timings, *, unit: str, package: str, surroundings: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a case against the machine's limit, which gives nothing that could be compared.

    Args:
        race: its name.
        case: its name.
        timings: of ours, and of the limit.
        unit: of both.
        package: whose version is told: what the limit was measured with.
        surroundings: as `environment` gives them.
    """
    told = {"race": race, "case": case, "peer": LIMIT, "peer_version": importlib.metadata.version(package)}
    return make_row(told, timings, unit=unit, equal=None, surroundings=surroundings)


def stream_of(size: int, threads: int) -> Callable[[], float]:
    """Measures how long reading so many bytes takes: the seconds of torch's sum of float32, which comes nearest to it.

    Args:
        size: bytes.
        threads: that read.
    """
    import torch

    values = torch.ones(size // 4)

    def read() -> float:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        values.sum()
        return time.perf_counter() - start

    return read


def product_of(multiplications: float, threads: int, times: int = 1) -> Callable[[], float]:
    """Measures how long so many multiplications of float32 take as square matrix products: their seconds.

    Args:
        multiplications: of numbers, in all.
        threads: that compute.
        times: how many products they make up.
    """
    import torch

    side = round((multiplications / times) ** (1 / 3))
    first, second, out = torch.rand(side, side), torch.rand(side, side), torch.empty(side, side)

    def multiply() -> float:
        torch.set_num_threads(threads)
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(first, second, out=out)
        return time.perf_counter() - start

    return multiply


def append_row(row: Mapping[str, Any], path: Path = RESULTS) -> None:
    """Adds a row to the results and prints it; a row with other keys than `KEYS` is refused."""
    if tuple(row) != KEYS:
        raise ValueError(f"a row has the keys {', '.join(KEYS)}, in this order; got {', '.join(row)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
    print(
        f"{row['race']} {row['case']}: ours {row['ours']} {row['unit']}, {row['peer']} {row['peer_version']} "
        f"{row['theirs']} {row['unit']}, {row['ratio']} times better ({row['spread'][0]} to {row['spread'][1]})",
        flush=True,
    )


def measure_in_turn(
    module: str, sides: Iterable[str], repeats: int, *arguments: str
) -> dict[str, list[dict[str, Any]]]:
    """What each side measures of itself, each time in a process of its own, the sides taking turns.

    Args:
        module: of the race, which is called with `--measure SIDE`.
        sides: by name.
        repeats: runs a side.
        *arguments: what the call has further.
    """
    runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    for _ in range(repeats):
        for side, done in runs.items():
            done.append(measure_apart(module, "--measure", side, *arguments))
    return runs


def counts_parser(
    name: str, about: str, sides: Iterable[str], counts: Sequence[int], of: str, repeats: int = 5
) -> ArgumentParser:
    """The options of a race whose sides run by themselves, each on so many things.

    Args:
        name: of the race.
        about: what it says of itself, in its first line.
        sides: that `--measure` runs in a process of their own, in the folders `--folder` and `--small`.
        counts: how many things by default.
        of: what is counted.
        repeats: runs a side by default.
    """
    parser = ArgumentParser(prog=f"python -m bench.{name}", description=about.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=repeats, help=f"runs a side (default {repeats})")
    parser.add_argument("--counts", nargs="*", type=int, default=list(counts), help=f"how many {of}")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=list(sides), help=SUPPRESS)
    parser.add_argument("--folder", type=Path, help=SUPPRESS)
    parser.add_argument("--small", type=Path, help=SUPPRESS)
    return parser


def clock_parser(name: str, about: str, cases: Iterable[str], repeats: int, of: str = "runs a side") -> ArgumentParser:
    """The options of a race that is run with one of two clocks.

    Args:
        name: of the race.
        about: what it says of itself, in its first line.
        cases: their names.
        repeats: how often, by default.
        of: what is repeated.
    """
    parser, known = ArgumentParser(prog=f"python -m bench.{name}", description=about.splitlines()[0]), list(cases)
    parser.add_argument("--repeats", type=int, default=repeats, help=f"{of} (default {repeats})")
    parser.add_argument("--cases", nargs="*", choices=known, default=known, help="which cases to run")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count (default wall)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    return parser


def clock_name(clock: str) -> str:
    """What a case says of its clock, behind its name: nothing of seconds that pass."""
    return "" if clock == "wall" else f", seconds of the {clock}"


def seconds_of(work: Callable[[], Any], clock: str) -> float:
    """How long a piece of work takes, by a clock."""
    start = CLOCKS[clock]()
    work()
    return CLOCKS[clock]() - start


def append_time_and_memory(
    peer: Mapping[str, str],
    case: str,
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    surroundings: Mapping[str, Any],
    path: Path = RESULTS,
) -> None:
    """Adds two rows of a case: of `seconds`, and of `megabytes`.

    Args:
        peer: `race`, `peer` and `peer_version`.
        case: its name; the second row is of `CASE memory`.
        runs: of `ours`, then of `theirs`: what each run measured. The outputs have been compared and are equal.
        surroundings: as `environment` gives them.
        path: where rows are added.
    """
    for name, unit, kind in ((case, "s", "seconds"), (f"{case} memory", "MB", "megabytes")):
        timings = Timings(*([run[kind] for run in done] for done in runs.values()))
        append_row(make_row({**peer, "case": name}, timings, unit=unit, equal=True, surroundings=surroundings), path)
