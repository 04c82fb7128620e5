"""Race `check`: all that `deixis check` says of a folder of small pictures, against the least that has to be done.

`ours` is `deixis.apps.common.dataset.check`, without the words of a model: every file is listed, read, hashed, decoded
and compared with all others by its perceptual hash and thumbnail. `read and hashed` lists the folder, reads every file
once and hashes it, in two threads: what finds equal bytes and nothing else. `decoded` also decodes each with Pillow.
Before anything is timed, the groups of equal files must be the same.

One file in a hundred is a copy of another. Each side runs in a process of its own, whose start and imports do not
count; memory is what it holds in the worst moment beyond what it held before.
"""

from __future__ import annotations

import collections
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.rows import Race, added_memory, append_time_and_memory, counts_parser, environment, measure_in_turn
from deixis.apps.common.dataset import check

__all__ = ["RACE", "SIDES", "main", "write"]

RACE = Race(
    measures="What is wrong with a folder of small pictures",
    peers=("read and hashed", "decoded"),
    equal="the groups of files with equal bytes",
)

THREADS, SIDE, A_FOLDER, COPIES = 2, 64, 1000, 100
Groups = list[list[str]]


def write(folder: Path, count: int) -> None:
    """Writes pictures of 64 pixels, a thousand a folder; the last one in a hundred is a copy."""
    rng, first = np.random.default_rng(0), b""
    for number in range(count):
        place = folder / f"{number // A_FOLDER:04}"
        place.mkdir(exist_ok=True)
        if not first or number % COPIES != COPIES - 1:
            cells = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            stream = io.BytesIO()
            cells.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(stream, "JPEG")
            first = stream.getvalue()
        (place / f"{number:06}.jpg").write_bytes(first)


def _ours(folder: Path) -> Groups:
    return [list(group) for group in check(str(folder), quiet=True).exact]


def _hashed(folder: Path) -> Groups:
    return _groups(folder, lambda data: hashlib.sha256(data).hexdigest())


def _decoded(folder: Path) -> Groups:
    def look(data: bytes) -> str:
        with Image.open(io.BytesIO(data)) as picture:
            picture.load()
        return hashlib.sha256(data).hexdigest()

    return _groups(folder, look)


def _groups(folder: Path, look: Callable[[bytes], str]) -> Groups:
    paths = sorted(Path(place, name) for place, _, names in os.walk(folder) for name in names)
    found = collections.defaultdict(list)
    with ThreadPoolExecutor(THREADS) as pool:
        for path, digest in zip(paths, pool.map(lambda path: look(path.read_bytes()), paths), strict=True):
            found[digest].append(path.relative_to(folder).as_posix())
    return [group for group in found.values() if len(group) > 1]


SIDES: dict[str, Callable[[Path], Groups]] = {"ours": _ours, "read and hashed": _hashed, "decoded": _decoded}


def _measure(side: str, folder: Path, small: Path) -> dict[str, Any]:
    """Seconds, MB and the groups of one run in this process, after a small one that loads all code."""
    SIDES[side](small)
    found: dict[str, Any] = {}

    def work() -> None:
        start = time.perf_counter()
        found["groups"] = sorted(map(sorted, SIDES[side](folder)))
        found["seconds"] = time.perf_counter() - start

    found["megabytes"] = added_memory(work)
    return found


def _race(count: int, repeats: int, results: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder, small = Path(place, "all"), Path(place, "small")
        for each, files in ((folder, count), (small, COPIES)):
            each.mkdir()
            write(each, files)
        runs = measure_in_turn("bench.check", SIDES, repeats, "--folder", str(folder), "--small", str(small))
    groups = runs["ours"][0]["groups"]
    if not groups or any(run["groups"] != groups for done in runs.values() for run in done):
        raise SystemExit(f"{count}: the sides find other copies")
    versions = {"read and hashed": platform.python_version(), "decoded": importlib.metadata.version("pillow")}
    for peer in RACE.peers:
        told = {"race": "check", "peer": peer, "peer_version": versions[peer]}
        both = {"ours": runs["ours"], "theirs": runs[peer]}
        append_time_and_memory(told, f"{count:,} files of 64x64", both, environment(threads=THREADS), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a size and peer: of time and of memory."""
    chosen = counts_parser("check", str(__doc__), SIDES, (10_000, 100_000), "files", repeats=3).parse_args(arguments)
    if chosen.measure:
        print(json.dumps(_measure(chosen.measure, chosen.folder, chosen.small)))
        return
    for count in chosen.counts:
        _race(count, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
