"""Race `pamr`: scores of pixels refined by their affinity, against the published loop, restated.

`published` follows Araslanov and Roth (2020) as their paper and code describe it: the neighbours of a pixel at each
distance are gathered by convolutions whose kernels hold a single 1, all neighbours of all classes in one tensor, which
is weighed and summed. `ours` looks at views of a padded copy and adds one neighbour at a time. One thread; the scores
must be the same first.

`--clock processor` counts the processor's seconds instead of those that pass, which is fairer where other programs run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import Race, alternate, append_row, clock_name, clock_parser, environment, make_row, seconds_of
from deixis.ops.dense.affinity import DILATIONS, refine_scores

__all__ = ["CASES", "RACE", "inputs", "main", "published"]

RACE = Race(
    measures="Refinement of the scores of an image's pixels in ten steps",
    peers=("published",),
    equal="the scores of all pixels, within a hundred-thousandth",
)

CASES = {"3 classes, 448 pixels": (3, 448), "21 classes, 224 pixels": (21, 224)}
THREADS, STEPS, EPS, FACTOR = 1, 10, 1e-8, 0.1
_TOLERANCE = 1e-5


def inputs(classes: int, side: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """An image [1, 3, S, S] with smooth parts and edges, and scores [1, C, s, s] on a grid an eighth as fine."""
    rng = torch.Generator().manual_seed(seed)
    coarse = F.interpolate(torch.rand(1, 3, 7, 7, generator=rng), (side, side), mode="nearest")
    return coarse + 0.05 * torch.rand(1, 3, side, side, generator=rng), torch.rand(
        1, classes, side // 8, side // 8, generator=rng
    )


def published(images: Tensor, scores: Tensor, steps: int = STEPS, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """The loop as it was published: `refine_scores`, neighbours gathered by convolutions."""
    scores = F.interpolate(scores, images.shape[2:], mode="bilinear", align_corners=True)
    around, whole = (_kernels(middle) for middle in (False, True))
    spread = _gathered(images, whole, dilations).std(2, keepdim=True)
    differences = images[:, :, None] - _gathered(images, around, dilations)
    weights = (-differences.abs() / (EPS + FACTOR * spread)).mean(1, keepdim=True).softmax(2)
    for _ in range(steps):
        scores = (_gathered(scores, around, dilations) * weights).sum(2)
    return scores


def _kernels(middle: bool) -> Tensor:
    """A kernel [n, 1, 3, 3] a neighbour, with a single 1."""
    kernels = torch.eye(9).reshape(9, 1, 3, 3)
    return kernels if middle else kernels[torch.arange(9) != 4]


def _gathered(maps: Tensor, kernels: Tensor, dilations: Sequence[int]) -> Tensor:
    """The neighbours [B, C, n, H, W] of each pixel, beyond the edge those at the edge."""
    flat = maps.flatten(0, 1)[:, None]
    found = [F.conv2d(F.pad(flat, (far,) * 4, mode="replicate"), kernels, dilation=far) for far in dilations]
    return torch.cat(found, dim=1).unflatten(0, maps.shape[:2])


@torch.inference_mode()
def _race(case: str, repeats: int, clock: str) -> dict[str, Any]:
    images, scores = inputs(*CASES[case])
    sides: list[Callable[[], Tensor]] = [partial(each, images, scores) for each in (refine_scores, published)]
    apart = float((sides[0]() - sides[1]()).abs().max())
    if apart > _TOLERANCE:
        raise SystemExit(f"{case}: the sides differ by {apart}")
    timings = alternate(*(partial(seconds_of, side, clock) for side in sides), repeats)
    facts = {
        "race": "pamr",
        "case": f"{case}{clock_name(clock)}",
        "peer": RACE.peers[0],
        "peer_version": torch.__version__,
    }
    return make_row(facts, timings, unit="s", equal=True, surroundings=environment(threads=THREADS))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case."""
    chosen = clock_parser("pamr", __doc__, CASES, 7).parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        append_row(_race(case, chosen.repeats, chosen.clock), chosen.results)


if __name__ == "__main__":
    main()
