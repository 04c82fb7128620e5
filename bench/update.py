"""Race `update`: what `deixis index --update` needs to see that nothing has changed in a folder of small pictures.

`ours` is `deixis.apps.index.index.update`; `from the shell` is the whole command, with the start of Python and all
imports. `hashed` lists the folder and hashes every file in two threads, as
`--verify` does and as any program must that keeps no sizes and times. `limit` lists it and asks for size and times of
each file, one after the other, which nobody who looks at the files can leave out. Each side counts the files that are
as they were: `ours` by the index, `hashed` by the hashes in it, `limit` by the list of sizes and times beside it. All
must count every file.

The index is made once, by a model of random weights, since nothing is embedded in what is timed. Each side runs in a
process of its own, whose start and imports do not count but from the shell; memory is what it holds in the worst moment
beyond what it held before.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.check import write
from bench.rows import (
    LIMIT,
    Race,
    Timings,
    added_memory,
    append_row,
    append_time_and_memory,
    counts_parser,
    environment,
    make_row,
    measure_in_turn,
)
from bench.startup import stopwatch
from deixis.apps.index.index import index, update
from deixis.apps.index.known_files import read_known_files
from deixis.indexing.index import Index

__all__ = ["RACE", "SIDES", "main", "prepare"]

RACE = Race(
    measures="Until an index knows that none of its pictures has changed",
    peers=("hashed", "limit"),
    equal="all files are counted as unchanged",
)

THREADS, TICK = 2, 3
"""Threads that hash, and seconds after which a file that was written is trusted to have its last time."""


def prepare(folder: Path, count: int) -> None:
    """Writes pictures into `files`, and their index into `run`."""
    (folder / "files").mkdir(parents=True)
    write(folder / "files", count)
    time.sleep(TICK)
    index(folder / "files", folder / "run", "tiny", quiet=True)


def _paths(folder: Path) -> Iterator[str]:
    return (os.path.join(place, name) for place, _, names in os.walk(folder / "files") for name in names)


def _ours(folder: Path) -> int:
    return update(folder / "run", folder / "files", remove_gone=True).kept


def _hashed(folder: Path) -> int:
    known = {item["path"]: item["hash"] for _, item in Index.open(folder / "run" / "index", verify=False).items()}

    def same(path: str) -> bool:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() == known.get(path)

    with ThreadPoolExecutor(THREADS) as pool:
        return sum(pool.map(same, _paths(folder)))


def _limit(folder: Path) -> int:
    known, count = read_known_files(folder / "run" / "index"), 0
    for path in _paths(folder):
        found = os.stat(path)
        count += known[path][0] == (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return count


SIDES: dict[str, Callable[[Path], int]] = {"ours": _ours, "hashed": _hashed, LIMIT: _limit}
SHELL = "shell"


def _measure(side: str, folder: Path, small: Path) -> dict[str, Any]:
    """Seconds, MB and the files counted of one run in this process, after a small one that loads all code."""
    if side == SHELL:
        command = [sys.executable, "-m", "deixis", "index", str(folder / "files"), "--out", str(folder / "run")]
        return {"seconds": stopwatch([*command, "--update"], prints=True)()}
    SIDES[side](small)
    found: dict[str, Any] = {}

    def work() -> None:
        start = time.perf_counter()
        found["count"] = SIDES[side](folder)
        found["seconds"] = time.perf_counter() - start

    found["megabytes"] = added_memory(work)
    return found


def _race(count: int, repeats: int, results: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, small = Path(place, "all").resolve(), Path(place, "small").resolve()
        prepare(folder, count)
        prepare(small, 10)
        options = ("--folder", str(folder), "--small", str(small))
        runs = measure_in_turn("bench.update", [*SIDES, SHELL], repeats, *options)
    if any(run["count"] != count for side in SIDES for run in runs[side]):
        raise SystemExit(f"{count}: not all files are as they were")
    surroundings = environment(threads=THREADS)
    for peer in RACE.peers:
        told = {"race": "update", "peer": peer, "peer_version": platform.python_version()}
        both = {"ours": runs["ours"], "theirs": runs[peer]}
        append_time_and_memory(told, f"{count:,} unchanged files", both, surroundings, results)
        timings = Timings(*([run["seconds"] for run in runs[side]] for side in (SHELL, peer)))
        told = {**told, "case": f"{count:,} unchanged files, from the shell"}
        append_row(make_row(told, timings, unit="s", equal=True, surroundings=surroundings), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends three rows a size and peer: of time, of memory, and of time from the shell."""
    chosen = counts_parser("update", str(__doc__), [*SIDES, SHELL], (10_000, 50_000), "files").parse_args(arguments)
    if chosen.measure:
        print(json.dumps(_measure(chosen.measure, chosen.folder, chosen.small)))
        return
    for count in chosen.counts:
        _race(count, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
