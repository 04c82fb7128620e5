"""Race `transport`: proximal transport between 60 words and 100 regions of 64 pairs, 50 rounds, against the loop as it
was published for UNITER.

The peer's code fails on present PyTorch (masks of 8 bits), and is restated here from its equations: each round makes a
new plan by three products of matrices and vectors and two scalings. Both sides must give the same plans first. One
thread, as training on two cores has little more for it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis.ops.pairs.proximal_transport import cosine_cost, ipot

__all__ = ["CASES", "RACE", "SIDES", "inputs", "main"]

RACE = Race(
    measures="Proximal transport between words and regions of 64 pairs, 50 rounds",
    peers=("the published loop, restated",),
    equal="the plans of all pairs",
)

PAIRS, WIDTH, ROUNDS, BETA, THREADS = 64, 64, 50, 0.5, 1
CASES = {"60 words, 100 regions": (60, 100), "20 words, 10 regions": (20, 10)}


def inputs(words: int, regions: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Costs, and which words and regions are real: at least a third of them."""
    rng = torch.Generator().manual_seed(seed)
    x, y = (torch.randn(PAIRS, count, WIDTH, generator=rng) for count in (words, regions))
    real = [
        torch.arange(count) < torch.randint(count // 3 + 1, count + 1, (PAIRS, 1), generator=rng)
        for count in (words, regions)
    ]
    return cosine_cost(x, y, *real), real[0], real[1]


def _ours(cost: Tensor, rows: Tensor, columns: Tensor) -> Callable[[], Tensor]:
    return lambda: ipot(cost, rows, columns, beta=BETA, iterations=ROUNDS)


def _theirs(cost: Tensor, rows: Tensor, columns: Tensor) -> Callable[[], Tensor]:
    """The plan stands on its side, regions as rows; padding is kept out by large divisors."""
    n, m = rows.sum(1).to(cost), columns.sum(1).to(cost)
    both = rows[:, None, :] & columns[:, :, None]
    apart = [(~each).to(cost).unsqueeze(1) * 1e4 for each in (rows, columns)]

    @torch.no_grad()
    def run() -> Tensor:
        s = (rows / n[:, None])[..., None]
        kernel = (-cost.transpose(1, 2) / BETA).exp().masked_fill(~both, 0.0)
        plan = both.to(cost)
        for _ in range(ROUNDS):
            q = kernel * plan
            d = 1 / (m[:, None, None] * q.matmul(s).transpose(1, 2) + apart[1])
            t = 1 / (n[:, None, None] * d.matmul(q) + apart[0])
            plan, s = d.transpose(1, 2) * q * t, t.transpose(1, 2)
        return plan.masked_fill(~both, 0.0).transpose(1, 2)

    return run


SIDES = {"ours": _ours, "theirs": _theirs}


def _seconds(run: Callable[[], Any]) -> float:
    """Of the processor, in milliseconds: one thread has no other."""
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


def _race(case: str, repeats: int, results: Path) -> None:
    ours, theirs = (make(*inputs(*CASES[case])) for make in SIDES.values())
    if not torch.allclose(ours(), theirs(), rtol=1e-3, atol=1e-7):
        raise SystemExit(f"the sides differ for {case}")
    timings = alternate(lambda: _seconds(ours), lambda: _seconds(theirs), repeats)
    facts = {"race": "transport", "case": case, "peer": RACE.peers[0], "peer_version": torch.__version__}
    append_row(make_row(facts, timings, unit="ms", equal=True, surroundings=environment(threads=THREADS)), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    parser = argparse.ArgumentParser(prog="python -m bench.transport", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15, help="runs a side (default 15)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        _race(case, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
