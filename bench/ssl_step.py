"""Race `ssl_step`: loss and gradients of one step of SwAV and of PixPro, against restatements of the published code.

`published` is as the authors have it: a pass of the tower for each crop; SwAV's assignment scales exponentials in turn.
`published, fast` is that with weights and images in the order channels last, and one pass for all crops of one size.
Batch norms of the tower keep their statistics, as with a tower that was trained before, so that the passes may be
joined; those of PixPro's heads take the statistics of each crop. Loss and all gradients must agree before anything is
timed. `lightly` is a peer of SwAV where it is installed: its loss on our features.
"""

from __future__ import annotations

import argparse
import copy
import importlib.metadata
import importlib.util
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis import engine
from deixis.engine.training.stages import card_of
from deixis.nn.vision.any_size import feature_map, pooled
from deixis.types import Batch, Crop, Progress
from deixis.zoo import load_part

__all__ = ["CASES", "RACE", "PixProStep", "Step", "SwavStep", "equal", "main"]

RACE = Race(
    measures="A step of SwAV and of PixPro",
    peers=("published", "published, fast", "lightly"),
    equal="the loss and all gradients",
)

BATCH, THREADS, TOLERANCE = 16, 1, 1e-3
_LIGHTLY = importlib.util.find_spec("lightly") is not None


class Step:
    """A method and a batch of noise; `fast` is its copy whose weights lie channels last.

    Args:
        name: of the method.
        settings: of its preset desk.
        batch: images.
        tower: by name.
    """

    def __init__(self, name: str, settings: Mapping[str, Any], batch: int, tower: str) -> None:
        network = load_part("image_tower", tower, seed=0)
        torch.manual_seed(0)
        self.method: Any = engine.build(name, "desk", {"layers": "all", **settings}, {"encoder": network}).train()
        self.fast = copy.deepcopy(self.method).to(memory_format=torch.channels_last)
        for each in (self.method, self.fast):
            each.encoder.eval()
        card = card_of(self.method)
        self.batch = Batch.synthetic(card.needs, self.method.config.view, size=batch)

    def ours(self) -> Tensor:
        """The method's own step."""
        loss: Tensor = self.method(self.batch, Progress(0, 100)).total
        return loss

    def gradients(self, side: Callable[[], Tensor]) -> list[Tensor]:
        """The loss, and the gradient of every weight that has one."""
        method = self.fast if side == self.joined else self.method
        weights = [each for each in method.parameters() if each.requires_grad]
        loss = side()
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        return [loss.detach(), *(torch.zeros(()) if each is None else each for each in found)]

    def joined(self) -> Tensor:
        """Published, fast."""
        raise NotImplementedError

    def sides(self) -> dict[str, Callable[[], Tensor]]:
        """Peer -> its step."""
        raise NotImplementedError

    def seconds(self, side: Callable[[], Tensor]) -> float:
        """Of one step."""
        start = time.perf_counter()
        self.gradients(side)
        return time.perf_counter() - start


class SwavStep(Step):
    """Two large and two small crops, 64 prototypes.

    Args:
        batch: images.
        side: of the large crops; small ones have half.
    """

    def __init__(self, batch: int = BATCH, side: int = 64) -> None:
        crops = (Crop(2, side), Crop(2, side // 2))
        settings = {"statistics": False, "view.crops": crops, "hidden": (256,), "width": 64}
        super().__init__("seer", settings, batch, f"scratch:resnet:{side}")

    def sides(self) -> dict[str, Callable[[], Tensor]]:
        """Peer -> its step."""
        lightly = {"lightly": self.lightly} if _LIGHTLY else {}
        return {"published": self.plain, "published, fast": self.joined, **lightly}

    def plain(self) -> Tensor:
        """A pass for each crop."""
        crops = [group[:, i] for group in self.batch.views for i in range(group.shape[1])]
        return self._loss([self._scores(self.method, each) for each in crops])

    def joined(self) -> Tensor:
        """A pass for all crops of one size."""
        found: list[Tensor] = []
        for group in self.batch.views:
            images = torch.cat(group.unbind(1)).contiguous(memory_format=torch.channels_last)
            found += self._scores(self.fast, images).chunk(group.shape[1])
        return self._loss(found)

    def lightly(self) -> Tensor:
        """lightly's loss on scores of our features."""
        from lightly.loss import SwaVLoss

        config = self.method.config
        loss = SwaVLoss(config.temperature, sinkhorn_iterations=config.rounds, sinkhorn_epsilon=config.epsilon)
        crops = [self._scores(self.method, group[:, i]) for group in self.batch.views for i in range(group.shape[1])]
        found: Tensor = loss(crops[:2], crops[2:])
        return found

    @staticmethod
    def _scores(method: Any, images: Tensor) -> Tensor:
        rows = F.normalize(method.head(pooled(method.encoder, images)), dim=1)
        return rows @ method.prototypes.weight.T

    def _loss(self, scores: Sequence[Tensor]) -> Tensor:
        config = self.method.config
        total = torch.zeros(())
        for crop in range(2):
            with torch.no_grad():
                shares = _sinkhorn(scores[crop], config.epsilon, config.rounds)
            for other in range(len(scores)):
                if other != crop:
                    total = total - (shares * (scores[other] / config.temperature).log_softmax(dim=1)).sum(dim=1).mean()
        return total / (2 * (len(scores) - 1))


def _sinkhorn(scores: Tensor, epsilon: float, rounds: int) -> Tensor:
    """As in the published code, but for the largest score, which is taken away so that no exponential overflows."""
    shares = ((scores - scores.max()) / epsilon).exp().T
    shares = shares / shares.sum()
    for _ in range(rounds):
        shares = shares / shares.sum(dim=1, keepdim=True) / len(shares)
        shares = shares / shares.sum(dim=0, keepdim=True) / shares.shape[1]
    return (shares * shares.shape[1]).T


class PixProStep(Step):
    """Two crops of one size.

    Args:
        batch: images.
        side: of the crops.
    """

    def __init__(self, batch: int = BATCH, side: int = 64) -> None:
        crops = (Crop(1, side), Crop(1, side))
        settings = {"statistics": False, "view.crops": crops, "hidden": 256, "width": 64}
        super().__init__("pixpro", settings, batch, f"scratch:resnet:{side}")
        for each in (self.method, self.fast):
            each.key_encoder.eval()

    def sides(self) -> dict[str, Callable[[], Tensor]]:
        """Peer -> its step."""
        return {"published": self.plain, "published, fast": self.joined}

    def plain(self) -> Tensor:
        """A pass for each crop."""
        views = [group[:, 0] for group in self.batch.views]
        online = [feature_map(self.method.encoder, each) for each in views]
        with torch.no_grad():
            keys = [feature_map(self.method.key_encoder.module, each) for each in views]
        return self._loss(self.method, online, keys)

    def joined(self) -> Tensor:
        """A pass of both crops, online and key."""
        images = torch.cat([group[:, 0] for group in self.batch.views]).contiguous(memory_format=torch.channels_last)
        online = feature_map(self.fast.encoder, images).chunk(2)
        with torch.no_grad():
            keys = feature_map(self.fast.key_encoder.module, images).chunk(2)
        return self._loss(self.fast, online, keys)

    def _loss(self, method: nn.Module, online: Sequence[Tensor], seen: Sequence[Tensor]) -> Tensor:
        cells = [F.normalize(_propagated(method, method.projector(each)), dim=1).flatten(2) for each in online]
        with torch.no_grad():
            keys = [F.normalize(method.key_projector(each), dim=1).flatten(2) for each in seen]
        boxes = [group[:, 0] for group in self.batch.view_boxes]
        mask = _same_place(*boxes, online[0].shape[2], self.method.config.ratio)
        pairs = mask.sum(dim=(1, 2)) + 1e-6
        there = (torch.bmm(cells[0].transpose(1, 2), keys[1]) * mask).sum(dim=(1, 2)) / pairs
        back = (torch.bmm(cells[1].transpose(1, 2), keys[0]) * mask.transpose(1, 2)).sum(dim=(1, 2)) / pairs
        return -2 * (there.mean() + back.mean())


def _propagated(method: Any, cells: Tensor) -> Tensor:
    """Each cell as the sum of what all say, by their cosines squared."""
    unit = F.normalize(cells.flatten(2), dim=1)
    weights = torch.bmm(unit.transpose(1, 2), unit).clamp(min=0) ** 2
    values = F.normalize(method.predictor.value(cells).flatten(2), dim=1)
    return torch.bmm(values, weights.transpose(1, 2)).view_as(cells)


def _same_place(first: Tensor, second: Tensor, cells: int, ratio: float) -> Tensor:
    """As in the published code: distances of all centres, in the larger of both diagonals of a cell."""
    place = (torch.arange(cells, dtype=torch.float32) + 0.5) / cells
    x, y = place.repeat(cells), place.repeat_interleave(cells)
    sides = [(each[:, 2] - each[:, 0], each[:, 3] - each[:, 1]) for each in (first, second)]
    xs = [box[:, :1] + wide[:, None] * x for box, (wide, _) in zip((first, second), sides, strict=True)]
    ys = [box[:, 1:2] + high[:, None] * y for box, (_, high) in zip((first, second), sides, strict=True)]
    distance = ((xs[0][:, :, None] - xs[1][:, None]) ** 2 + (ys[0][:, :, None] - ys[1][:, None]) ** 2).sqrt()
    diagonals = [((wide / cells) ** 2 + (high / cells) ** 2).sqrt() for wide, high in sides]
    return (distance / torch.maximum(*diagonals)[:, None, None] < ratio).float()


CASES: Mapping[str, Callable[..., Step]] = {"SwAV": SwavStep, "PixPro": PixProStep}


def equal(step: Step) -> bool:
    """Whether all sides have one loss and one gradient. A bias in front of a batch norm has none but rounding: so what
    may differ is a share of the gradient of a tensor and a little of that of all."""
    ours = step.gradients(step.ours)
    whole = float(torch.stack([each.norm() for each in ours]).norm())
    return all(
        float((one - other).norm()) <= TOLERANCE * (float(one.norm()) + 1e-2 * whole)
        for side in step.sides().values()
        for one, other in zip(ours, step.gradients(side), strict=True)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case and peer."""
    parser = argparse.ArgumentParser(prog="python -m bench.ssl_step", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    for case in chosen.cases:
        step = CASES[case]()
        if not equal(step):
            raise SystemExit(f"ssl_step {case}: the sides differ")
        for peer, side in step.sides().items():
            timings = alternate(partial(step.seconds, step.ours), partial(step.seconds, side), chosen.repeats)
            version = importlib.metadata.version("lightly") if peer == "lightly" else torch.__version__
            named = {"race": "ssl_step", "case": case, "peer": peer, "peer_version": version}
            row = make_row(named, timings, unit="s", equal=True, surroundings=environment(threads=THREADS))
            append_row(row, chosen.results)
    if not _LIGHTLY:
        print("ssl_step: lightly is not installed, and no peer here")


if __name__ == "__main__":
    main()
