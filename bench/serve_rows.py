"""Serves an index for minutes while it is changed and compacted under its clients: rows of `results/serve.jsonl`.

    python -m bench.serve_rows                  50,000 pictures, 100 clients, 300 seconds
    python -m bench.serve_rows --seconds 10 --pictures 2000 --connections 500

A hundred clients search, look at pictures and ask for thumbnails, each again as soon as it has its answer. Another
process changes the index all the while: ten marked pictures, which one search finds first, are replaced in one step by
ten of the next state; others are added and removed, and now and then so many that all is written again. An answer in
which two states are mixed is counted, and so is every 5xx. Then come those who do not behave: clients that send a byte
now and then, requests that stop half-way, thousands of open connections, pictures that are none.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from bench import hostile_clients
from bench.rows import ROOT, child_environment, environment
from bench.serve_load import lay_out, started
from deixis import zoo
from deixis.indexing import changes
from deixis.indexing.index import Index

__all__ = ["LongRun", "change_forever", "main", "measure"]

RESULTS = ROOT / "results" / "serve.jsonl"
MARKED = "the marked ones"
_MARKS, _ADDED = 10, 50
_SHARE = 0.3  # of the pictures that are removed at once, so that all is written again
_FILES = 8
_FIRST = (0.15, 0.25)
"""Part of the time in which memory is measured first, and once more in the last tenth."""


@dataclasses.dataclass
class LongRun:
    """What came of it.

    Attributes:
        statuses: of all answers.
        broken: requests that got no answer.
        marked: answers of the marked pictures.
        mixed: those of them in which two states are.
        states: different states that they were of.
        memory: seconds since the beginning and MB resident, of the server.
    """

    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    broken: int = 0
    marked: int = 0
    mixed: int = 0
    states: set[str] = dataclasses.field(default_factory=set)
    memory: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    def resident(self, begin: float, end: float) -> float:
        """The median of what was resident between two moments, in MB.

        Args:
            begin: in seconds since the beginning.
            end: the same.
        """
        return statistics.median([held for when, held in self.memory if begin <= when <= end] or [float("nan")])


def marks(state: int, path: str) -> list[dict[str, Any]]:
    """The items of the marked pictures in a state.

    Args:
        state: its number.
        path: of a picture.
    """
    return [
        {"id": f"mark-{i}", "path": path, "captions": [], "label": None, "state": f"state {state}"}
        for i in range(_MARKS)
    ]


def change_forever(run: Path, path: str, pause: float, vector: Sequence[float]) -> None:
    """Changes the index of a run until the process is killed; prints a line a change.

    Args:
        run: which is served.
        path: of a picture.
        pause: seconds between changes.
        vector: of the marked pictures [D].
    """
    folder, rng, width = run / "index", np.random.default_rng(0), len(vector)
    centre, many = np.array(vector, np.float32), max(_ADDED, int(_SHARE * len(Index.open(folder))))
    for state in itertools.count(1):
        near = centre + 0.001 * rng.normal(size=(_MARKS, width)).astype(np.float32)
        changes.replace(folder, near, marks(state, path))
        count = many if state % 20 == 19 else _ADDED
        names = [f"new-{state}-{i}" for i in range(count)]
        items: list[dict[str, Any]] = [{"id": name, "path": path, "captions": [], "label": None} for name in names]
        changes.add(folder, rng.normal(size=(count, width)).astype(np.float32), items)
        changes.remove(folder, names)
        print("many" if count == many else "some", flush=True)
        time.sleep(pause)


@contextlib.contextmanager
def _changing(run: Path, path: str, pause: float, vector: np.ndarray) -> Iterator[subprocess.Popen[str]]:
    code = "import json, sys; from pathlib import Path; from bench.serve_rows import change_forever\n"
    code += "change_forever(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), json.loads(sys.argv[4]))"
    arguments = [str(run), path, str(pause), json.dumps(vector.tolist())]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, env=child_environment(), stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _resident(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024 / 1e6


async def _client(session: httpx.AsyncClient, seed: int, end: float, pictures: int, found: LongRun) -> None:
    rng = random.Random(seed)
    while time.monotonic() < end:
        kind = rng.random()
        body: dict[str, Any] | None = {"texts": [f"a thing with the number {rng.random()}"], "k": 20}
        path = "/search"
        if kind < 0.3:
            body = {"texts": [MARKED], "k": _MARKS, "columns": ["state"]}
        elif kind < 0.45:
            body = {"like": f"{rng.randrange(pictures)}.jpg", "k": 20}
        elif kind < 0.7:
            path, body = f"/items/{rng.randrange(pictures)}/thumbnail?side=128", None
        elif kind < 0.8:
            path, body = f"/items?id={rng.randrange(pictures)}.jpg", None
        try:
            answer = await (session.get(path) if body is None else session.post(path, json=body))
        except httpx.HTTPError:
            found.broken += 1
            continue
        found.statuses[answer.status_code] += 1
        if kind < 0.3 and answer.status_code == 200:
            states = {str(each["columns"].get("state")) for each in answer.json()["found"]}
            found.marked, found.mixed = found.marked + 1, found.mixed + (len(states) != 1)
            found.states |= states


async def _load(address: str, process: int, clients: int, seconds: float, pictures: int) -> LongRun:
    found, begun = LongRun(), time.monotonic()

    async def watch() -> None:
        while (passed := time.monotonic() - begun) < seconds:
            found.memory.append((passed, _resident(process)))
            await asyncio.sleep(seconds / 200)

    async with contextlib.AsyncExitStack() as stack:
        sessions = [await stack.enter_async_context(hostile_clients.session(address)) for _ in range(clients)]
        end = begun + seconds
        await asyncio.gather(
            watch(), *(_client(each, seed, end, pictures, found) for seed, each in enumerate(sessions))
        )
    return found


def measure(folder: Path, clients: int, seconds: float, pictures: int, connections: int, model: str) -> dict[str, Any]:
    """A row.

    Args:
        folder: an empty one.
        clients: that ask at a time.
        seconds: for which they do.
        pictures: in the index.
        connections: that are opened at a time, afterwards.
        model: whose texts are encoded.
    """
    files = []
    for number in range(_FILES):
        files.append(folder / f"{number}.jpg")
        Image.effect_noise((320, 240), 20 + 10 * number).convert("RGB").save(files[-1])
    run, path = lay_out(folder, pictures, model, files), str(files[0])
    vector = zoo.load(model).encode_text([MARKED]).numpy()[0]
    changes.add(run / "index", np.repeat(vector[None], _MARKS, 0), marks(0, path))
    with started(run, 64) as (address, process):
        with _changing(run, path, min(0.5, seconds / 40), vector) as writer:
            found = asyncio.run(_load(address, process, clients, seconds, pictures))
            writer.kill()
            assert writer.stdout is not None
            changed = Counter(writer.stdout.read().split())
        rude = hostile_clients.all_of_them(address, connections)
    first = found.resident(*(part * seconds for part in _FIRST))
    last = found.resident(seconds * 0.9, seconds)
    return {
        "pictures": pictures,
        "clients": clients,
        "seconds": seconds,
        "requests": found.statuses.total(),
        "server_errors": sum(count for status, count in found.statuses.items() if status >= 500),
        "other_errors": sum(count for status, count in found.statuses.items() if 400 <= status < 500),
        "without_answer": found.broken,
        "changes": 3 * changed.total(),
        "compactions": changed["many"],
        "answers_of_marked": found.marked,
        "states_seen": len(found.states),
        "mixed_answers": found.mixed,
        "first_mb": round(first, 1),
        "last_mb": round(last, 1),
        "grown": round(last / first - 1, 4),
        **rude,
        **environment(threads=1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and adds a row."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve_rows", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=300.0, help="for which clients ask")
    parser.add_argument("--clients", type=int, default=100, help="that ask at a time")
    parser.add_argument("--pictures", type=int, default=50_000, help="in the index")
    parser.add_argument("--connections", type=int, default=10_000, help="that are opened at a time")
    parser.add_argument("--model", default="starter", help="whose texts are encoded")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the row is added")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        row = measure(Path(folder), chosen.clients, chosen.seconds, chosen.pictures, chosen.connections, chosen.model)
    with open(chosen.results, "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
