"""Race `matching`: which of 100 queries stands for which box, for 16 pictures, against the matcher of transformers.

Both sides get the same logits and boxes and the same cost (class, L1, GIoU), and must give the same matches first. The
peer computes the cost of each query of each picture with each box of all pictures; ours with those of its own. One
thread: steps of a tenth of a millisecond would mostly measure how long two threads wait for each other.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis.methods.mdetr import matching, matching_cost

__all__ = ["CASES", "RACE", "SIDES", "inputs", "main"]

RACE = Race(
    measures="Matching of 100 queries with the boxes of 16 pictures",
    peers=("transformers",),
    equal="the matches of all pictures",
)

PICTURES, QUERIES, SLOTS, THREADS = 16, 100, 256, 1
CASES = {"1 box": 1, "10 boxes": 10, "50 boxes": 50}
WEIGHTS = (1.0, 5.0, 2.0)
_TIMES = 20


def inputs(count: int, seed: int = 0) -> dict[str, Tensor]:
    """Logits and boxes of queries, classes and boxes of `count` targets a picture."""
    rng = torch.Generator().manual_seed(seed)
    shape = {"boxes": (PICTURES, QUERIES, 4), "true": (PICTURES, count, 4)}
    boxes = {name: torch.rand(size, generator=rng) * 0.5 + 0.1 for name, size in shape.items()}
    classes = torch.randint(SLOTS - 1, (PICTURES, count), generator=rng)
    return {**boxes, "logits": torch.randn(PICTURES, QUERIES, SLOTS, generator=rng), "classes": classes}


def _ours(given: dict[str, Tensor]) -> Callable[[], Any]:
    slots = F.one_hot(given["classes"], SLOTS).float()
    valid = torch.ones(given["classes"].shape, dtype=torch.bool)
    real = torch.ones(given["logits"].shape[:2], dtype=torch.bool)

    def run() -> list[list[tuple[int, int]]]:
        match = matching(matching_cost(given["logits"], given["boxes"], slots, given["true"], WEIGHTS), valid, real)
        return [sorted((query, target) for target, query in enumerate(row)) for row in match.tolist()]

    return run


def _theirs(given: dict[str, Tensor]) -> Callable[[], Any]:
    from transformers.loss.loss_for_object_detection import HungarianMatcher

    matcher = HungarianMatcher(*WEIGHTS)
    outputs = {"logits": given["logits"], "pred_boxes": given["boxes"]}
    targets = [{"class_labels": c, "boxes": b} for c, b in zip(given["classes"], given["true"], strict=True)]

    def run() -> list[list[tuple[int, int]]]:
        return [sorted(zip(q.tolist(), t.tolist(), strict=True)) for q, t in matcher(outputs, targets)]

    return run


SIDES = {"ours": _ours, "theirs": _theirs}


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    for _ in range(_TIMES):
        run()
    return (time.perf_counter() - start) / _TIMES * 1000


def _race(case: str, repeats: int, results: Path) -> None:
    ours, theirs = (make(inputs(CASES[case])) for make in SIDES.values())
    if ours() != theirs():
        raise SystemExit(f"the sides differ for {case}")
    timings = alternate(lambda: _seconds(ours), lambda: _seconds(theirs), repeats)
    facts = {"race": "matching", "case": case, "peer": "transformers"}
    facts["peer_version"] = importlib.metadata.version("transformers")
    append_row(make_row(facts, timings, unit="ms", equal=True, surroundings=environment(threads=THREADS)), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.matching", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        _race(case, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
