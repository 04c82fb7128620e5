"""Race `contrastive_loss`: the loss of CLIP over N pairs, forward and backward, in time and in memory.

`open_clip` is its `ClipLoss`, which holds whole matrices of N x N. `sentence-transformers` is the loss of its cached
multiple-negatives ranking in both directions, which goes over 512 rows at a time and back at once. `torch` is the
plain loss with one matrix and two cross-entropies. All are given the same vectors of width 512, and before anything is
timed the loss and the gradients must agree.

A second case, `cached`, takes a batch through two small towers in K pieces: ours by gradient caching, with the loss
once; open_clip by the scheme of `--accum-freq K` of its training script, with the loss of the whole batch K times.
A third, `one core busy`, is the first again while another process computes without end: of two threads that wait for
one another, the one that shares its core is late. `limit` is the arithmetic alone: three square products of float32,
with the multiplications of the scores and of both gradients.

What a side needs in memory is what a process of its own holds at its worst beyond what it held before. A side that does
not fit into this machine is reported, and leaves no row.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rows import (
    LIMIT,
    RESULTS,
    Race,
    Timings,
    added_memory,
    append_row,
    environment,
    limit_row,
    make_row,
    measure_apart,
    product_of,
)
from deixis.engine import backward
from deixis.ops.contrastive import info_nce
from deixis.types import Batch, Features, FieldSpec, Losses, Progress

__all__ = [
    *("PEERS", "RACE", "Towers", "accumulated", "busy_core"),
    *("differences", "loss_of", "main", "step_differs", "vectors"),
]

RACE = Race(
    measures="CLIP's loss over N pairs, forward and backward",
    peers=("open_clip", "open_clip --accum-freq", "sentence-transformers", "torch", "limit"),
    equal="the loss and the gradients of both sides",
)

THREADS, WIDTH, SCALE, TOLERANCE = 2, 512, 50.0, 1e-4
SIZES = (4096, 8192, 16384, 32768)
BUSY = (4096,)
PIECES = (8, 16, 32)
PEERS = {"open_clip": "open_clip_torch", "sentence-transformers": "sentence-transformers", "torch": "torch"}
PLAIN_BYTES = 7
"""Matrices of float32 that a plain loss holds at its worst, about; what will not fit is not tried."""


def vectors(count: int) -> tuple[Tensor, Tensor]:
    """Image and text vectors [N, D] of length 1; those of a pair are alike."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(count, WIDTH, generator=generator)
    text = 0.15 * image + torch.randn(count, WIDTH, generator=generator)
    return F.normalize(image, dim=1).requires_grad_(), F.normalize(text, dim=1).requires_grad_()


def _torch_loss(image: Tensor, text: Tensor) -> Tensor:
    logits, own = SCALE * image @ text.T, torch.arange(len(image))
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def loss_of(side: str) -> Callable[[Tensor, Tensor], float]:
    """Of `ours` or one of `PEERS`: the loss's value, the gradients being left in both arguments."""
    if side == "sentence-transformers":
        from sentence_transformers.losses import CachedMultipleNegativesRankingLoss

        cached = CachedMultipleNegativesRankingLoss(
            nn.Sequential(nn.Identity()),  # it only looks whether the first layer is one that it can't cache
            scale=SCALE,
            similarity_fct=lambda x, y: x @ y.T,
            mini_batch_size=512,
            directions=("query_to_doc", "doc_to_query"),
            partition_mode="per_direction",
        )
        return lambda image, text: float(cached.calculate_loss([[image], [text]], with_backward=True).detach())
    import open_clip

    clip = open_clip.ClipLoss()
    losses = {
        "ours": lambda image, text: info_nce(image, text, scale=SCALE),
        "open_clip": lambda image, text: clip(image, text, torch.tensor(SCALE)),
        "torch": _torch_loss,
    }

    def run(image: Tensor, text: Tensor) -> float:
        loss = losses[side](image, text)
        loss.backward()
        return float(loss.detach())

    return run


def differences(count: int, peers: Sequence[str] = tuple(PEERS)) -> dict[str, float]:
    """How far each peer is from ours over `count` pairs: the loss, and the gradients by the largest of theirs."""
    found = {}
    for side in ("ours", *peers):
        image, text = vectors(count)
        found[side] = (loss_of(side)(image, text), image.grad, text.grad)
    own = found.pop("ours")
    off = {}
    for side, theirs in found.items():
        gradients = [float((a - b).abs().max() / b.abs().max()) for a, b in zip(own[1:], theirs[1:], strict=True)]
        off[side] = max(abs(own[0] / theirs[0] - 1), *gradients)
    return off


@contextlib.contextmanager
def busy_core() -> Iterator[None]:
    """Meanwhile another process keeps a core busy, whichever the system gives it."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        other.kill()
        other.wait()


def _seconds(side: str, count: int) -> float:
    image, text = vectors(count)
    run = loss_of(side)
    start = time.perf_counter()
    run(image, text)
    return time.perf_counter() - start


def _megabytes(side: str, count: int) -> float:
    """What one evaluation adds to this process at the most."""
    torch.set_num_threads(THREADS)
    run = loss_of(side)
    run(*vectors(64))  # loads all code
    image, text = vectors(count)
    return added_memory(lambda: run(image, text))


def _fits(side: str, count: int) -> bool:
    if side in ("ours", "sentence-transformers"):
        return True
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    return PLAIN_BYTES * 4 * count**2 < free


# In pieces, through towers


class Towers(nn.Module):
    """Two perceptrons as a method: what the engine takes in pieces."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.image, self.text = (
            nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width)) for _ in range(2)
        )
        self.log_scale = nn.Parameter(torch.tensor(math.log(SCALE)))

    def embed(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        return F.normalize(self.image(image), dim=1), F.normalize(self.text(text), dim=1)

    def encode(self, batch: Batch, progress: Progress) -> Features:
        image, text = self.embed(batch.extra["image"], batch.extra["text"])
        return Features({"image": image, "text": text})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        loss = info_nce(features.rows["image"], features.rows["text"], scale=self.log_scale.exp())
        return Losses({"contrastive": loss})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.loss(self.encode(batch, progress), batch, progress)


def accumulated(towers: Towers, image: Tensor, text: Tensor, pieces: int) -> None:
    """Gradients by the scheme of `--accum-freq`: all features without a graph, then for each piece its own once more
    with one, among those of the others, and the loss of the whole batch."""
    import open_clip

    loss = open_clip.ClipLoss()
    parts = list(zip(image.chunk(pieces), text.chunk(pieces), strict=True))
    with torch.no_grad():
        known = [towers.embed(*part) for part in parts]
    for j, part in enumerate(parts):
        own = towers.embed(*part)
        sides = (torch.cat([x[s] for x in known[:j]] + [own[s]] + [x[s] for x in known[j + 1 :]]) for s in (0, 1))
        loss(*sides, towers.log_scale.exp()).backward()


def _step(side: str, count: int, pieces: int) -> Callable[[], Towers]:
    torch.manual_seed(0)
    towers, (image, text) = Towers(), (x.detach() for x in vectors(count))
    ids, specs = tuple(map(str, range(count))), {name: FieldSpec(name, "B D") for name in ("image", "text")}
    batch = Batch(ids, extra={"image": image, "text": text}, specs=specs)

    def run() -> Towers:
        towers.zero_grad()
        if side == "ours":
            backward(towers, batch, Progress(), chunk=count // pieces)
        else:
            accumulated(towers, image, text, pieces)
        return towers

    return run


def step_differs(count: int, pieces: int) -> float:
    """The largest difference of a gradient, by its tensor's largest; that of the scale comes K times over there."""
    steps = [_step(side, count, pieces)() for side in ("ours", "open_clip")]
    ours, theirs = ({name: p.grad for name, p in each.named_parameters() if name != "log_scale"} for each in steps)
    return max(float((ours[name] - theirs[name]).abs().max() / theirs[name].abs().max()) for name in ours)


def _race_pieces(count: int, pieces: int, repeats: int, results: Path) -> None:
    off = step_differs(1024, pieces)
    if off > TOLERANCE:
        raise SystemExit(f"cached, K = {pieces}: gradients differ by {off}, and {TOLERANCE} is allowed")
    steps = {side: _step(side, count, pieces) for side in ("ours", "open_clip")}
    seconds: dict[str, list[float]] = {side: [] for side in steps}
    for _ in range(repeats + 1):
        for side, run in steps.items():
            start = time.perf_counter()
            run()
            seconds[side].append(time.perf_counter() - start)
    told = {"race": "contrastive_loss", "case": f"cached, N = {count}, K = {pieces}", "peer": "open_clip --accum-freq"}
    told["peer_version"] = importlib.metadata.version("open_clip_torch")
    timings = Timings(seconds["ours"][1:], seconds["open_clip"][1:])
    append_row(make_row(told, timings, unit="s", equal=True, surroundings=environment(THREADS)), results)


def _times(sides: Sequence[str], count: int, repeats: int) -> dict[str, list[float]]:
    """Seconds of each side, in turn, and of the limit."""
    product = product_of(3 * count**2 * WIDTH, THREADS, times=3)
    found: dict[str, list[float]] = {side: [] for side in (*sides, LIMIT)}
    for _ in range(repeats):
        for side in sides:
            found[side].append(_seconds(side, count))
        found[LIMIT].append(product())
    return found


def _append(case: str, unit: str, found: Mapping[str, Sequence[float]], results: Path) -> None:
    """A row for each side but ours."""
    for peer in [side for side in found if side != "ours"]:
        timings, surroundings = Timings(found["ours"], found[peer]), environment(THREADS)
        if peer == LIMIT:
            told = {"unit": unit, "package": "torch", "surroundings": surroundings}
            append_row(limit_row("contrastive_loss", case, timings, **told), results)
            continue
        version = importlib.metadata.version(PEERS[peer])
        told = {"race": "contrastive_loss", "case": case, "peer": peer, "peer_version": version}
        append_row(make_row(told, timings, unit=unit, equal=True, surroundings=surroundings), results)


def _race_busy(count: int, repeats: int, results: Path) -> None:
    sides = [side for side in ("ours", *PEERS) if _fits(side, count)]
    with busy_core():
        found = _times(sides, count, repeats)
    del found[LIMIT]  # of the whole machine
    _append(f"N = {count}, one core busy", "s", found, results)


def _race(count: int, repeats: int, results: Path) -> None:
    sides = [side for side in ("ours", *PEERS) if _fits(side, count)]
    for side in PEERS.keys() - set(sides):
        print(f"N = {count}: {side} would not fit into this machine's memory")
    _append(f"N = {count}", "s", _times(sides, count, repeats), results)
    held = {
        side: [float(measure_apart("bench.contrastive_loss", "--measure", side, "--sizes", str(count))["megabytes"])]
        for side in sides
    }
    _append(f"N = {count}, memory", "MB", held, results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a size and peer, one a size and peer with a core busy, and one for each number
    of pieces."""
    parser = argparse.ArgumentParser(prog="python -m bench.contrastive_loss", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="evaluations a side (default 5)")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="numbers of pairs")
    parser.add_argument("--busy", type=int, nargs="*", default=list(BUSY), help="numbers of pairs with a core busy")
    parser.add_argument("--pieces", type=int, nargs="*", default=list(PIECES), help="numbers of pieces")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=["ours", *PEERS], help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    if chosen.measure:
        print(json.dumps({"megabytes": _megabytes(chosen.measure, chosen.sizes[0])}))
        return
    off = differences(1500)
    if max(off.values()) > TOLERANCE:
        raise SystemExit(f"the sides differ by {off}, and {TOLERANCE} is allowed")
    for count in chosen.sizes:
        _race(count, chosen.repeats, chosen.results)
    for count in chosen.busy:
        _race_busy(count, chosen.repeats, chosen.results)
    for pieces in chosen.pieces:
        _race_pieces(4096, pieces, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
