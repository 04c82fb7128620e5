"""Race `serve_load`: what clients of `deixis serve` wait for, when 1, 10 or 100 of them ask at the same time.

Both sides are a server in a process of its own, over the same index and model, asked by the same clients over HTTP;
each client asks again as soon as it has its answer, and no text is asked twice. Ours gathers what comes together into
one pass through the model and one over the index; theirs takes one request after the other, as servers of CLIP search
commonly do. The answers of both are compared first. A row each for the median, the 95th and the 99th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import os
import re
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

import deixis
from bench.rows import RESULTS, ROOT, Race, Timings, append_row, child_environment, environment, make_row
from deixis import zoo
from deixis.indexing.changes import build

__all__ = ["PERCENTILES", "RACE", "latencies", "lay_out", "main", "serving", "started"]

RACE = Race(
    measures="What 1, 10 or 100 clients of a server wait for",
    peers=("deixis, one request at a time",),
    equal="the answers of both servers",
)

CLIENTS = (1, 10, 100)
PERCENTILES = (50, 95, 99)
ASKED = 300
"""Requests in one measurement, over all clients; of one client a quarter."""

_TOGETHER = {"ours": 64, "theirs": 1}
_SERVER = """
import sys
from deixis.apps.serve import server, server_state
from deixis.apps.serve.settings import ServeSettings
server_state.LARGEST = int(sys.argv[2])
sys.exit(server.serve(sys.argv[1], ServeSettings(port=0)))
"""
_COLOURS = ("red", "green", "blue", "yellow", "black", "white", "brown", "grey")
_THINGS = ("bird", "boat", "house", "chair", "dog", "car", "tree", "flower", "cup", "shoe", "fish", "book")

_numbers = itertools.count()
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: httpx would read all certificates for each client


def lay_out(folder: Path, pictures: int, model: str, files: Sequence[Path] = ()) -> Path:
    """A run whose vectors lie about where those of pictures of things would.

    Args:
        folder: where it goes.
        pictures: how many the index holds.
        model: whose it is.
        files: of pictures, which those of the index share; without any there are none of them.
    """
    encoder, rng = zoo.load(model), np.random.default_rng(0)
    base = encoder.encode_text([f"{colour} {thing}" for colour in _COLOURS for thing in _THINGS]).numpy()
    mixed = rng.dirichlet(np.full(len(base), 0.05), pictures) @ base + 0.02 * rng.normal(size=(pictures, base.shape[1]))
    paths = [str(files[i % len(files)] if files else f"/pictures/{i}.jpg") for i in range(pictures)]
    items = [{"id": f"{i}.jpg", "path": path, "captions": [], "label": None} for i, path in enumerate(paths)]
    zoo.save(encoder, folder / "run" / "model")
    build(
        folder / "run" / "index",
        mixed.astype(np.float32),
        items,
        model=encoder.name,
        fingerprint=encoder.fingerprint(),
    )
    return folder / "run"


@contextlib.contextmanager
def serving(run: Path, together: int) -> Iterator[str]:
    """The address of a server in a process of its own.

    Args:
        run: what it serves.
        together: texts that it passes through the model at a time.
    """
    with started(run, together) as (address, _):
        yield address


@contextlib.contextmanager
def started(run: Path, together: int) -> Iterator[tuple[str, int]]:
    """As `serving`, with the number of the process."""
    command = [sys.executable, "-c", _SERVER, str(run), str(together)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=child_environment())
    try:
        assert process.stdout is not None
        found = re.findall(r"http://\S+?(?=/)", process.stdout.readline())
        if not found:
            raise SystemExit("The server did not start.")
        yield found[0], process.pid
    finally:
        process.kill()
        process.communicate()


def latencies(address: str, clients: int, asked: int) -> list[float]:
    """Seconds that each request waited for its answer.

    Args:
        address: of the server.
        clients: that ask at a time.
        asked: requests, over all clients.
    """

    async def client(session: httpx.AsyncClient, waited: list[float]) -> None:
        for _ in range(asked // clients):
            body = {"texts": [f"a {_COLOURS[next(_numbers) % 8]} thing with the number {next(_numbers)}"]}
            begun = time.perf_counter()
            answer = await session.post("/search", json=body)
            waited.append(time.perf_counter() - begun)
            if answer.status_code != 200:
                raise SystemExit(f"The server answered {answer.status_code}: {answer.text}")

    async def main() -> list[float]:
        waited: list[float] = []
        async with contextlib.AsyncExitStack() as stack:
            sessions = [await stack.enter_async_context(_session(address)) for _ in range(clients)]
            await asyncio.gather(*(client(session, waited) for session in sessions))
        return waited

    return asyncio.run(main())


def _session(address: str) -> httpx.AsyncClient:
    """One client's own: of clients that share one, each request costs time with their number (14 ms of processor with
    100), which the server would be charged with."""
    return httpx.AsyncClient(base_url=address, timeout=120, verify=_NO_TLS)


def _answers(address: str) -> list[list[int]]:
    bodies = [{"texts": [f"a {colour} {thing}"], "k": 10} for colour in _COLOURS[:3] for thing in _THINGS]

    async def main() -> list[httpx.Response]:
        async with _session(address) as session:
            return await asyncio.gather(*(session.post("/search", json=body) for body in bodies))

    return [[found["row"] for found in answer.json()["found"]] for answer in asyncio.run(main())]


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends three rows for each number of clients."""
    parser = argparse.ArgumentParser(prog="python -m bench.serve_load", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="measurements a side (default 7, at least 5)")
    parser.add_argument("--clients", nargs="*", type=int, default=CLIENTS, help="how many ask at a time")
    parser.add_argument("--pictures", type=int, default=50_000, help="in the index")
    parser.add_argument("--model", default="starter", help="whose texts are encoded")
    parser.add_argument("--asked", type=int, default=ASKED, help="requests in one measurement")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    if chosen.repeats < 5:
        parser.error("fewer than 5 measurements say too little")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        run = lay_out(Path(name), chosen.pictures, chosen.model)
        sides = {side: stack.enter_context(serving(run, together)) for side, together in _TOGETHER.items()}
        equal = _answers(sides["ours"]) == _answers(sides["theirs"])
        for clients in chosen.clients:
            _race(sides, clients, equal, chosen)


def _race(sides: dict[str, str], clients: int, equal: bool, chosen: Any) -> None:
    measured: dict[str, list[np.ndarray]] = {side: [] for side in sides}
    for repeat in range(chosen.repeats + 1):
        for side, address in sides.items():
            asked = max(chosen.asked // (4 if clients == 1 else 1), clients)
            waited = np.percentile(latencies(address, clients, asked), PERCENTILES)
            if repeat:
                measured[side].append(waited)
    for place, percentile in enumerate(PERCENTILES):
        timings = Timings(*([float(each[place]) for each in measured[side]] for side in ("ours", "theirs")))
        what = f"{clients} client{'s' * (clients > 1)}, {chosen.pictures} pictures, p{percentile}"
        peer = {"peer": "deixis, one request at a time", "peer_version": deixis.__version__}
        surroundings = environment(threads=os.cpu_count() or 1)
        row = make_row(
            {"race": "serve_load", "case": what, **peer}, timings, unit="s", equal=equal, surroundings=surroundings
        )
        append_row(row, chosen.results)


if __name__ == "__main__":
    main()
