"""Race `reid`: where the pictures of the same individual stand for 5,000 queries among 20,000, against a full sort.

Both sides start from the same vectors and give, for each query, the place of its first match and its average precision;
the query's own picture is left out. Compared in every run. The peer is what re-identification code does: all scores at
once, sorted in numpy, matches and precisions from the sorted rows. Each run is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import RESULTS, Race, added_memory, append_time_and_memory, environment, measure_in_turn
from deixis.ops.similarity.identity import identity_ranks

__all__ = ["CASES", "RACE", "SIDES", "equal", "main", "vectors"]

RACE = Race(
    measures="Matches and average precision of queries among pictures of individuals",
    peers=("numpy",),
    equal="the place of the first match and the average precision of every query, in every run",
)

WIDTH, THREADS, EACH = 256, 2, 5
CASES = {"5000 of 20000": (5_000, 20_000)}


def vectors(count: int, width: int = WIDTH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pictures of individuals, five of each, and whose they are: as far apart as a half-trained model leaves them."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.arange(count) // EACH
    centres = torch.randn(int(ids.max()) + 1, width, generator=generator)
    noise = torch.randn(count, width, generator=generator)
    order = torch.randperm(count, generator=generator)
    return F.normalize(centres[ids] + 2.2 * noise, dim=1)[order], ids[order]


def _ours(gallery: Tensor, ids: Tensor, queries: int) -> tuple[np.ndarray, np.ndarray]:
    own = torch.arange(queries)
    found = identity_ranks(gallery[:queries], gallery, ids[:queries], ids, own)
    return found.first.numpy(), found.precision.numpy()


def _theirs(gallery: Tensor, ids: Tensor, queries: int) -> tuple[np.ndarray, np.ndarray]:
    pictures, names = gallery.numpy(), ids.numpy()
    order = np.argsort(-(pictures[:queries] @ pictures.T), axis=1)
    order = order[order != np.arange(queries)[:, None]].reshape(queries, -1)
    matches = names[order] == names[:queries, None]
    places = np.arange(1, matches.shape[1] + 1)
    precision = (matches.cumsum(1) / places * matches).sum(1) / matches.sum(1)
    return matches.argmax(1) + 1, precision


SIDES: dict[str, Callable[[Tensor, Tensor, int], tuple[np.ndarray, np.ndarray]]] = {"ours": _ours, "theirs": _theirs}


def equal(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """The same places and precisions but for what is tied within rounding, which ours counts against the query."""
    places = np.subtract(ours["first"], theirs["first"])
    precisions = np.abs(np.subtract(ours["precision"], theirs["precision"]))
    return bool((places != 0).mean() < 0.02 and np.abs(places).max() <= 3 and precisions.mean() < 1e-4)


def _measure(side: str, path: Path, queries: int) -> dict[str, Any]:
    """One run in this process, after a small one: its seconds, MB and what it found."""
    torch.set_num_threads(THREADS)
    gallery, ids = torch.load(path, weights_only=True)
    SIDES[side](gallery[:64].clone(), ids[:64].clone(), 16)
    found: dict[str, Any] = {}

    def work() -> None:
        start = time.perf_counter()
        first, precision = SIDES[side](gallery, ids, queries)
        found["seconds"] = time.perf_counter() - start
        found["first"], found["precision"] = first.tolist(), precision.tolist()

    found["megabytes"] = added_memory(work)
    return found


def _race(case: str, repeats: int, results: Path) -> None:
    queries, pictures = CASES[case]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "vectors.pt")
        torch.save(vectors(pictures), path)
        more = ("--vectors", str(path), "--queries", str(queries))
        runs = measure_in_turn("bench.reid", ("ours", "theirs"), repeats, *more)
    if not all(equal(one, other) for one, other in zip(runs["ours"], runs["theirs"], strict=True)):
        raise SystemExit("the sides differ")
    peer = {"race": "reid", "peer": "numpy", "peer_version": np.__version__}
    append_time_and_memory(peer, case, runs, environment(threads=THREADS), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows: of time and of memory."""
    parser = argparse.ArgumentParser(prog="python -m bench.reid", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs a side (default 5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--vectors", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--queries", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        print(json.dumps(_measure(chosen.measure, chosen.vectors, chosen.queries)))
        return
    for case in CASES:
        _race(case, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
