"""Race `caption_step`: several sentences an image, one step of the text side, against the two plain ways.

128 images with 4 or 8 sentences each. The peers encode slot by slot, or all slots as one flat padded batch; ours
encodes each different sentence once. All take the same loss, and the gradients of the text tower are compared before
anything is timed. Where sentences repeat (`repeated`: four in five are one of a few, as in scenes) that is less work;
where none does (`distinct`) it must cost nothing.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis import engine
from deixis.methods import dreamlip
from deixis.types import Tokens
from deixis.zoo import scratch

__all__ = ["CASES", "RACE", "CaptionStep", "equal", "main"]

RACE = Race(
    measures="A step of the text side with several sentences an image",
    peers=("torch, slot by slot", "torch, flat"),
    equal="the loss and all gradients of the text tower",
)

IMAGES, WIDTH, SHARE, THREADS = 128, 64, 5, 2
CASES: Mapping[str, tuple[int, bool]] = {
    "4 repeated": (4, True),
    "8 repeated": (8, True),
    "4 distinct": (4, False),
    "8 distinct": (8, False),
}


class CaptionStep:
    """The text side of a step, in three ways.

    Args:
        slots: sentences an image.
        repeated: whether most sentences stand with several images.
        images: how many.
    """

    def __init__(self, slots: int, repeated: bool, images: int = IMAGES) -> None:
        words = [" ".join(each) for each in itertools.product(("red", "blue", "green", "grey"), ("dog", "cat", "bus"))]
        places = ("left", "right", "top", "bottom", "middle", "corner", "edge", "front")
        encoder = scratch.build([*words, *places, "the is at of picture", *map(str, range(2000))], "small")
        self.method = engine.build("dreamlip", "desk", {"grouping": 0.0, "layers": "all"}, {"encoder": encoder})
        generator = torch.Generator().manual_seed(0)
        count = images * slots
        number = torch.arange(count)
        if repeated:
            number = torch.where(torch.rand(count, generator=generator) < 1 / SHARE, number, number % (count // 20 + 1))
        texts = [
            f"the {words[n % len(words)]} is at the {places[n % len(places)]} of the picture {n}"
            for n in number.tolist()
        ]
        ids, mask = encoder.tokenize(texts)
        self.caption = ((ids + 1) * mask).unflatten(0, (images, slots))
        self.image = F.normalize(torch.randn(images, encoder.width, generator=generator), dim=1)
        self.keys = torch.unique(self.caption.flatten(0, 1), dim=0, return_inverse=True)[1].unflatten(
            0, (images, slots)
        )

    def ours(self) -> Tensor:
        """Each different sentence once."""
        present = torch.ones(self.caption.shape[:2], dtype=torch.bool)
        return self._loss(self.method._sentences(self.caption, present))

    def slots(self) -> Tensor:
        """A pass for each slot."""
        return self._loss(torch.stack([self._encoded(each) for each in self.caption.unbind(1)], dim=1))

    def flat(self) -> Tensor:
        """One pass over all."""
        return self._loss(self._encoded(self.caption.flatten(0, 1)).unflatten(0, self.caption.shape[:2]))

    def _encoded(self, caption: Tensor) -> Tensor:
        found: Tensor = self.method.encoder.encode_text(Tokens((caption - 1).clamp(min=0), caption > 0))
        return found

    def _loss(self, text: Tensor) -> Tensor:
        return dreamlip.multi_positive(self.image, text, scale=10.0, keys=self.keys)

    def gradients(self, side: Callable[[], Tensor]) -> list[Tensor]:
        """The loss, and the gradient of every weight of the text tower."""
        weights = list(self.method.encoder.text_tower.parameters())
        loss = side()
        return [loss.detach(), *torch.autograd.grad(loss, weights)]

    def seconds(self, side: Callable[[], Tensor]) -> float:
        """Of one step."""
        start = time.perf_counter()
        self.gradients(side)
        return time.perf_counter() - start


def equal(step: CaptionStep) -> bool:
    """Whether all three have one loss and one gradient."""
    ours = step.gradients(step.ours)
    return all(
        torch.allclose(one, other, rtol=1e-3, atol=1e-5)
        for side in (step.slots, step.flat)
        for one, other in zip(ours, step.gradients(side), strict=True)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case, one a peer."""
    parser = argparse.ArgumentParser(prog="python -m bench.caption_step", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        step = CaptionStep(*CASES[case])
        if not equal(step):
            raise SystemExit(f"caption_step {case}: the sides differ")
        for peer, side in zip(RACE.peers, (step.slots, step.flat), strict=True):
            timings = alternate(partial(step.seconds, step.ours), partial(step.seconds, side), chosen.repeats)
            named = {"race": "caption_step", "case": case, "peer": peer, "peer_version": torch.__version__}
            row = make_row(named, timings, unit="s", equal=True, surroundings=environment(threads=THREADS))
            append_row(row, chosen.results)


if __name__ == "__main__":
    main()
