"""Race `ranks`: exact retrieval metrics of N pairs, against open_clip's own function.

Both sides start from the same features and give the same ten numbers: R@1, R@5, R@10, mean and median rank in both
directions. They are compared in every run. open_clip sorts all N x N scores in each direction, ours counts block by
block what ranks before the right answer. Each run is a process of its own, which tells its seconds and what it held at
its peak beyond the features.

Ours counts scores that differ by less than rounding against the model, and open_clip's sort breaks such ties anyhow: so
the features hold none, and pairs are drawn until that is so.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import RESULTS, Race, added_memory, append_time_and_memory, environment, measure_in_turn
from deixis.ops.metrics import recall_at, retrieval_ranks

__all__ = ["CASES", "RACE", "SIDES", "enough_memory", "equal", "features", "main"]

RACE = Race(
    measures="Exact retrieval metrics of N pairs",
    peers=("open_clip",),
    equal="the ten numbers of either side, in every run",
)

WIDTH, THREADS = 512, 2
CASES = {"5000": 5_000, "20000": 20_000}
APART = 3e-6
"""Scores of vectors of length 1 that are as far apart are so in float32, too, and beyond `deixis.ops.metrics.TIE`."""


def features(count: int, width: int = WIDTH, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs of vectors of length 1 [count, width] whose ranks lie between 1 and some hundreds, without ties.

    The cosine of a pair is between 2 and 5 deviations above those of strangers. The text of a pair whose score comes
    too close to another is drawn anew.
    """
    generator = torch.Generator().manual_seed(seed)
    image = F.normalize(torch.randn(count, width, generator=generator), dim=1)
    text = torch.empty_like(image)
    redrawn = torch.arange(count)
    while len(redrawn):
        near = image[redrawn]
        noise = torch.randn(len(redrawn), width, generator=generator)
        across = F.normalize(noise - (noise * near).sum(1, keepdim=True) * near, dim=1)
        cosine = (2 + 3 * torch.rand(len(redrawn), 1, generator=generator)) * width**-0.5
        text[redrawn] = cosine * near + (1 - cosine**2).sqrt() * across
        redrawn = _close(image, text)
    return image, text


def _close(image: Tensor, text: Tensor, block: int = 512) -> Tensor:
    """The texts whose score with their image comes closer than `APART` to another of the text's or of the image's."""
    own = (image * text).sum(1)
    found = torch.zeros(len(own), dtype=torch.bool)
    for start in range(0, len(own), block):
        rows = torch.arange(start, min(start + block, len(own)))
        scores = image[rows] @ text.T
        scores[rows - start, rows] = torch.inf
        found[rows] |= ((scores - own[rows, None]).abs_() < APART).any(1)
        found |= ((scores - own).abs_() < APART).any(0)
    return found.nonzero()[:, 0]


def _ours(image: Tensor, text: Tensor) -> dict[str, float]:
    metrics = {}
    both = retrieval_ranks(image, text, torch.arange(len(image)))
    for name, ranks in zip(("image_to_text", "text_to_image"), both, strict=True):
        metrics[f"{name}_mean_rank"] = float(ranks.double().mean())
        # The median as open_clip takes it: rounded down where it lies between two ranks.
        metrics[f"{name}_median_rank"] = math.floor(ranks.double().quantile(0.5))
        metrics |= {f"{name}_R@{k}": float(recall_at(ranks, k).mean()) for k in (1, 5, 10)}
    return metrics


def _theirs(image: Tensor, text: Tensor) -> dict[str, float]:
    from open_clip_train.train import get_clip_metrics

    return {name: float(value) for name, value in get_clip_metrics(image, text, 1.0).items()}


SIDES: dict[str, Callable[[Tensor, Tensor], dict[str, float]]] = {"ours": _ours, "theirs": _theirs}


def equal(ours: dict[str, float], theirs: dict[str, float]) -> bool:
    """The same names with the same numbers, but for the last digits of a mean."""
    return ours.keys() == theirs.keys() and all(math.isclose(ours[name], theirs[name], rel_tol=1e-12) for name in ours)


def _measure(side: str, path: Path) -> dict[str, Any]:
    """One run in this process, after a small one that loads all code: its seconds, MB and metrics."""
    torch.set_num_threads(THREADS)
    image, text = torch.load(path, weights_only=True)
    SIDES[side](image[:64].clone(), text[:64].clone())
    found: dict[str, Any] = {}

    def work() -> None:
        start = time.perf_counter()
        found["metrics"] = SIDES[side](image, text)
        found["seconds"] = time.perf_counter() - start

    found["megabytes"] = added_memory(work)
    return found


def enough_memory(count: int) -> bool:
    """Whether the peer's run fits: scores, sorted scores, their places and a copy come to 24 bytes a pair."""
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    wanted = 24 * count**2 + 1e9
    if free < wanted:
        print(f"ranks {count}: skipped, open_clip needs {wanted / 1e9:.0f} GB and {free / 1e9:.0f} GB are free")
    return free >= wanted


def _race(case: str, repeats: int, results: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "features.pt")
        torch.save(features(CASES[case]), path)
        runs = measure_in_turn("bench.ranks", ("ours", "theirs"), repeats, "--features", str(path))
    metrics = runs["ours"][0]["metrics"]
    if not all(equal(metrics, run["metrics"]) for done in runs.values() for run in done):
        raise SystemExit(f"the sides differ: {metrics} and {runs['theirs'][0]['metrics']}")
    peer = {"race": "ranks", "peer": "open_clip", "peer_version": importlib.metadata.version("open_clip_torch")}
    append_time_and_memory(peer, case, runs, environment(threads=THREADS), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case: of time and of memory."""
    parser = argparse.ArgumentParser(prog="python -m bench.ranks", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7; of the largest at most 2)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--features", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        print(json.dumps(_measure(chosen.measure, chosen.features)))
        return
    for case in chosen.cases:
        if enough_memory(CASES[case]):
            _race(case, chosen.repeats if CASES[case] < 10_000 else min(2, chosen.repeats), chosen.results)


if __name__ == "__main__":
    main()
