"""Race `patch_step`: a step of SelfPatch and of DINO, against restatements of the published code.

`published` is as the authors have it: crops of one size go through tower and heads together; the eight neighbours of
each patch are gathered as vectors, [B, N, 8, D], to be compared, and the class attention has a set of vectors for each
patch; DINO's loss goes through all pairs of crops. `SelfPatch targets` is the part of the step that differs: what the
teacher says of each patch's neighbours, without a gradient, as in the step. Batch norms of the tower keep their
statistics. Loss and all gradients must agree before anything is timed, those of the targets too. `lightly` is a peer of
DINO where it is installed: its loss on what our head gives. Memory is that of a process of its own, beyond what it held
before; its rows are named after the case.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import importlib.util
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.rows import (
    RESULTS,
    Race,
    Timings,
    added_memory,
    alternate,
    append_row,
    environment,
    make_row,
    measure_in_turn,
)
from bench.ssl_step import Step, equal
from deixis.methods.selfpatch import patch_cross_entropy
from deixis.nn.vision.any_size import feature_map, pooled
from deixis.ops.similarity.grid_neighbours import grid_neighbours
from deixis.types import Crop, Progress

__all__ = ["CASES", "RACE", "DinoStep", "PatchStep", "TargetsStep", "main"]

RACE = Race(
    measures="A step of SelfPatch and of DINO",
    peers=("published", "lightly"),
    equal="the loss and all gradients",
)

BATCH, SIDE, THREADS, SELECTED = 4, 96, 1, 4
_LIGHTLY = importlib.util.find_spec("lightly") is not None
_START = Progress(0, 100)


class PatchStep(Step):
    """Two large and two small crops, grids of 12 x 12 and 6 x 6.

    Args:
        batch: images.
        side: of the large crops; small ones have half.
    """

    def __init__(self, batch: int = BATCH, side: int = SIDE) -> None:
        settings = {"view.crops": (Crop(2, side), Crop(2, side // 2)), "selected": SELECTED}
        super().__init__("selfpatch", settings, batch, f"scratch:resnet:stride8:{side}")
        self.method.teacher.encoder.eval()

    def sides(self) -> dict[str, Callable[[], Tensor]]:
        """Peer -> its step."""
        return {"published": self.plain}

    def plain(self) -> Tensor:
        """Crops of one size together, neighbours as vectors."""
        method, config = self.method, self.method.config
        behind, temperatures = method.teacher.behind.module, method.temperatures(_START)
        student, teacher, patches = [], [], []
        for group in self.batch.views:
            images, count = group.transpose(0, 1).flatten(0, 1), group.shape[1]
            cells = feature_map(method.encoder, images)
            rows, grid = cells.flatten(2).transpose(1, 2), cells.shape[2:]
            student += method.head.crops(method.head.aggregation.attention(rows)).chunk(count)
            own = method.head.cells(method.head.aggregation.attention.norm(rows))
            with torch.no_grad():
                seen = feature_map(method.teacher.encoder.module, images).flatten(2).transpose(1, 2)
                teacher += behind.crops(behind.aggregation.attention(seen)).chunk(count)
                wanted = behind.cells(_targets(behind.aggregation.attention, seen, grid))
            for each, target in zip(own.chunk(count), wanted.chunk(count), strict=True):
                patches.append(patch_cross_entropy(each, target, method.patch_centre, *temperatures))
        loss = _pairs(student, teacher[:2], method.centre, *temperatures)
        return loss + config.patch_weight * torch.stack(patches).mean()


def _targets(attention: nn.Module, patches: Tensor, grid: Sequence[int]) -> Tensor:
    """The four of eight neighbours, gathered as vectors twice: to be compared, and to be read."""
    numbers, exists = grid_neighbours(*grid)
    batch, count, width = patches.shape
    around = patches[:, numbers]
    cosines = F.cosine_similarity(patches[:, :, None], around, dim=3).masked_fill(~exists, -torch.inf)
    value, place = cosines.topk(SELECTED, dim=2)
    rows = around.gather(2, place[..., None].expand(-1, -1, -1, width))
    found: Tensor = attention(rows.flatten(0, 1), (value > -torch.inf).flatten(0, 1))
    return found.unflatten(0, (batch, count))


def _pairs(student: Sequence[Tensor], teacher: Sequence[Tensor], centre: Tensor, warm: float, sharp: float) -> Tensor:
    """The mean over pairs of a teacher's crop and another of the student, one after the other."""
    wanted = [((each - centre) / sharp).softmax(dim=-1) for each in teacher]
    terms = [
        -(target * (answer / warm).log_softmax(dim=-1)).sum(dim=-1).mean()
        for a, target in enumerate(wanted)
        for v, answer in enumerate(student)
        if v != a
    ]
    return torch.stack(terms).mean()


class TargetsStep(PatchStep):
    """What the teacher says of the neighbours of all patches of the large crops; `gradients` are of a sum of it."""

    def __init__(self, batch: int = BATCH, side: int = SIDE) -> None:
        super().__init__(batch, side)
        self.aggregation = self.method.head.aggregation
        with torch.no_grad():
            cells = feature_map(self.method.encoder, self.batch.views[0].transpose(0, 1).flatten(0, 1))
        self.patches, self.grid = cells.flatten(2).transpose(1, 2).contiguous(), (cells.shape[2], cells.shape[3])
        draws = torch.Generator().manual_seed(0)
        self.weights = torch.randn(self.patches.shape, generator=draws) / self.patches[0].numel()

    def ours(self) -> Tensor:
        """The method's own."""
        return (self.aggregation.targets(self.patches, self.grid) * self.weights).sum()

    def plain(self) -> Tensor:
        """As published."""
        return (_targets(self.aggregation.attention, self.patches, self.grid) * self.weights).sum()

    def seconds(self, side: Callable[[], Tensor]) -> float:
        """Of one pass without gradients, as the teacher has it."""
        start = time.perf_counter()
        with torch.no_grad():
            side()
        return time.perf_counter() - start


class DinoStep(Step):
    """Two large and four small crops, 4,096 prototypes.

    Args:
        batch: images.
        side: of the large crops; small ones have half.
    """

    def __init__(self, batch: int = BATCH, side: int = SIDE) -> None:
        settings = {"view.crops": (Crop(2, side), Crop(4, side // 2)), "prototypes": 4096}
        super().__init__("dino", settings, batch, f"scratch:resnet:{side}")
        self.method.teacher.encoder.eval()

    def sides(self) -> dict[str, Callable[[], Tensor]]:
        """Peer -> its step."""
        return {"published": self.plain, **({"lightly": self.lightly} if _LIGHTLY else {})}

    def plain(self) -> Tensor:
        """The loss pair by pair."""
        return _pairs(*self._answers(), self.method.centre, *self.method.temperatures(_START))

    def lightly(self) -> Tensor:
        """lightly's loss."""
        from lightly.loss import DINOLoss

        student, teacher = self._answers()
        warm, sharp = self.method.temperatures(_START)
        loss = DINOLoss(student[0].shape[1], sharp, sharp, 1, warm, self.method.config.centre_momentum)
        found: Tensor = loss(teacher, student, epoch=0)
        return found

    def _answers(self) -> tuple[list[Tensor], list[Tensor]]:
        """Of the student to all crops, and of the teacher to the large ones; those of one size pass together."""
        method, student = self.method, list[Tensor]()
        groups = [(group.transpose(0, 1).flatten(0, 1), group.shape[1]) for group in self.batch.views]
        for images, count in groups:
            student += method.head(pooled(method.encoder, images)).chunk(count)
        with torch.no_grad():
            seen = pooled(method.teacher.encoder.module, groups[0][0])
            return student, list(method.teacher.behind(seen).chunk(2))


CASES: Mapping[str, Callable[..., Step]] = {
    "SelfPatch": PatchStep,
    "SelfPatch targets": TargetsStep,
    "DINO": DinoStep,
}


def _megabytes(step: Step, side: str) -> float:
    """Beyond what the process holds, after a run that is not counted."""
    work = functools.partial(step.seconds, {"ours": step.ours, **step.sides()}[side])
    work()
    return added_memory(work)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a case and peer: of time and of memory."""
    parser = argparse.ArgumentParser(prog="python -m bench.patch_step", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=("ours", *RACE.peers), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(THREADS)
    if chosen.measure:
        print(json.dumps({"megabytes": _megabytes(CASES[chosen.cases[0]](), chosen.measure)}))
        return
    for case in chosen.cases:
        _race(case, chosen.repeats, chosen.results)
    if not _LIGHTLY:
        print("patch_step: lightly is not installed, and no peer here")


def _race(case: str, repeats: int, results: Path) -> None:
    step = CASES[case]()
    if not equal(step):
        raise SystemExit(f"patch_step {case}: the sides differ")
    surroundings = environment(threads=THREADS)
    for peer, side in step.sides().items():
        timings = alternate(functools.partial(step.seconds, step.ours), functools.partial(step.seconds, side), repeats)
        runs = measure_in_turn("bench.patch_step", ("ours", peer), max(1, repeats // 2), "--cases", case)
        memory = Timings(*([run["megabytes"] for run in runs[each]] for each in ("ours", peer)))
        version = importlib.metadata.version("lightly") if peer == "lightly" else torch.__version__
        named = {"race": "patch_step", "peer": peer, "peer_version": version}
        for name, unit, found in ((case, "s", timings), (f"{case} memory", "MB", memory)):
            row = make_row({**named, "case": name}, found, unit=unit, equal=True, surroundings=surroundings)
            append_row(row, results)


if __name__ == "__main__":
    main()
