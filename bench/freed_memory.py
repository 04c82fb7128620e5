"""Race `freed_memory`: the same passes with what torch frees kept for the next tensors, or handed back at once.

Ours is torch where deixis has been imported; the peer is torch as it comes (`DEIXIS_FREED_MEMORY=return`). Both run one
code: the starter's image tower over batches of 32 images of 224 pixels, or forward and backward of all its weights on
batches of 16. Each run is a process of its own; the numbers that come out are compared in every one. Memory is the most
that the whole process ever holds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.rows import RESULTS, Race, append_time_and_memory, environment, measure_apart
from deixis import zoo
from deixis.freed_memory import RETURN

__all__ = ["CASES", "RACE", "SIDES", "main"]

RACE = Race(
    measures="Passes of the starter's image tower, freed memory kept",
    peers=("torch as it comes",),
    equal="what comes out of the last pass, to the bit",
)
THREADS = 2
SIDES = {"ours": "keep", "theirs": "return"}
"""Side -> value of the environment variable."""


def _embed(images: int = 32, passes: int = 8) -> Callable[[], torch.Tensor]:
    encoder, batch = zoo.load("starter"), torch.rand(images, 3, 224, 224, generator=torch.Generator().manual_seed(0))

    def work() -> torch.Tensor:
        with torch.inference_mode():
            return [encoder.encode_image(batch) for _ in range(passes)][-1]

    return work


def _train(images: int = 16, passes: int = 4) -> Callable[[], torch.Tensor]:
    encoder, batch = zoo.load("starter"), torch.rand(images, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    for weight in encoder.parameters():
        weight.requires_grad_(True)

    def work() -> torch.Tensor:
        for _ in range(passes):
            encoder.zero_grad(set_to_none=True)
            encoder.encode_image(batch).square().sum().backward()
        return torch.stack([each.grad.double().sum() for each in encoder.parameters() if each.grad is not None])

    return work


CASES: dict[str, Callable[[], Callable[[], torch.Tensor]]] = {"embedding": _embed, "forward and backward": _train}


def _measure(case: str) -> dict[str, Any]:
    """One run in this process, after one that does not count: its seconds, the process' MB and what came out."""
    torch.set_num_threads(THREADS)
    work = CASES[case]()
    work()
    start = time.perf_counter()
    out = work()
    seconds = time.perf_counter() - start
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return {"seconds": seconds, "megabytes": most, "out": out.flatten()[:4096].tolist()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case: of time and of memory."""
    parser = argparse.ArgumentParser(prog="python -m bench.freed_memory", description=str(__doc__).splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs a side (default 5)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        print(json.dumps(_measure(chosen.case)))
        return
    for case in CASES:
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for _ in range(chosen.repeats):
            for side, done in runs.items():
                os.environ[RETURN] = SIDES[side]  # read by the child before it imports torch
                done.append(measure_apart("bench.freed_memory", "--measure", side, "--case", case))
        if not all(np.array_equal(one["out"], other["out"]) for one, other in zip(*runs.values(), strict=True)):
            raise SystemExit("the sides differ")
        peer = {"race": "freed_memory", "peer": "torch as it comes", "peer_version": torch.__version__}
        append_time_and_memory(peer, case, runs, environment(threads=THREADS), chosen.results)


if __name__ == "__main__":
    main()
