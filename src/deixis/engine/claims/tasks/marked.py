"""Where claims about concepts that are shown meet: a few things are marked in scenes, and further ones are pointed at.

A seed draws nouns of concepts that `desk-clip` never saw in any style, and scenes of several things of which one is of
these nouns, by cut-outs that the parts do not share. A frozen encoder gives the cells of the scenes. An arm learns from
the cells that the box of the marked thing covers, and from those beside it, which are of the class `nothing`; then it
is asked for the noun of each scene that is held out, and is right where the middle of the cell that it scores highest
lies in the box of the thing.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis import zoo
from deixis.data import catalogue
from deixis.data.synthetic.clutter import class_sets, clutter
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import CurveResult, part_hash, require_least
from deixis.engine.features.cells import image_cells
from deixis.engine.fewshot import few_shot
from deixis.engine.fewshot.few_shot import FewShotMethod
from deixis.engine.fewshot.names import class_names
from deixis.engine.fewshot.shots import Shots
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard

__all__ = ["NOTHING", "TASK", "MarkedTask", "Options", "covered", "make"]

TASK = TaskCard(
    title="Scenes of three or four things, one of them marked: pointing at things of its noun with a frozen encoder",
    metrics=("pointing",),
    axis="marked scenes a noun",
    passes=("deixis.zoo.desk_clip", "deixis.zoo.starter"),  # of models that are loaded by name
)

_UNSEEN = "emoji-styles/concepts"

NOTHING = "nothing"
"""The class of cells that no marked thing covers."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `marked`.

    Attributes:
        model: the frozen encoder.
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`.
        classes: nouns that are shown and asked for.
        marked: marked scenes of each, ascending.
        validation: scenes of each to choose settings by.
        test: scenes of each to report on.
        objects: the fewest and the most things of a scene.
        side: of the images, in pixels.
    """

    model: str = "desk-clip"
    cast: str = "emoji/all"
    classes: int = 16
    marked: tuple[int, ...] = (1, 4)
    validation: int = 8
    test: int = 16
    objects: tuple[int, int] = (3, 4)
    side: int = 224


class _Scenes(NamedTuple):
    """Scenes of a part: the cells of each, of length 1, which of them lie on the thing of its noun, and the noun."""

    cells: Float[Tensor, "N P D"]
    inside: Bool[Tensor, "N P"]
    labels: Int64[Tensor, " N"]


@dataclasses.dataclass(frozen=True)
class MarkedTask:
    """Scenes as an encoder sees them.

    Attributes:
        encoder: the frozen model.
        source: the scenes.
        classes: the nouns, sorted.
        marked: scenes of each to learn from, ascending.
        seed: of the methods.
    """

    encoder: DualEncoder
    source: Source
    classes: tuple[str, ...]
    marked: tuple[int, ...]
    seed: int

    def curve(
        self,
        method: str,
        settings: Mapping[str, Any],
        metric: str,
        split: Literal["validation", "test"],
        budget: int,
    ) -> CurveResult:
        """Marked scenes a noun, and how often the arm then points at the thing that is asked for.

        Args:
            method: by name.
            settings: that differ from its `desk` preset.
            metric: `pointing`.
            split: the part that is asked about.
            budget: marked scenes of a noun at the most; where that leaves fewer than two numbers, as in a look at
                whether all works, the first two are taken.

        Raises:
            DeixisError: there is no such metric, or the method can't learn from cells.
        """
        if metric != TASK.metrics[0]:
            raise DeixisError(f"There is no measure {metric!r} of pointing.", f"There is: {TASK.metrics[0]}.")
        part = SPLITS[1 if split == "validation" else 2]
        held = self._scenes(part)
        points, seconds, hits = list[tuple[float, float]](), 0.0, torch.empty(0)
        for count in self._within(budget):
            learned, spent = self._learned(method, settings, count)
            hits = _pointed(learned, held)
            points.append((float(count), float(hits.mean())))
            seconds += spent
        told = part_hash(dataclasses.replace(self.source, samples=tuple(self._samples(part))))
        return CurveResult(tuple(points), seconds, tuple(hits.tolist()), float(held.inside.double().mean()), told)

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """About how many seconds a curve takes: those of the fewest scenes, in proportion."""
        counts = self._within(budget)
        return self._learned(method, settings, counts[0])[1] * sum(counts) / counts[0]

    def _within(self, budget: int) -> tuple[int, ...]:
        counts = tuple(count for count in self.marked if count <= budget)
        return counts if len(counts) > 1 else self.marked[:2]

    def _samples(self, split: str, most: int | None = None) -> list[Sample]:
        """The scenes of a split, at most so many of each noun, in their order."""
        seen, found = Counter[str | None](), list[Sample]()
        for sample in self.source.samples:
            if sample.split == split and (most is None or seen[sample.label] < most):
                seen[sample.label] += 1
                found.append(sample)
        return found

    def _scenes(self, split: str, most: int | None = None) -> _Scenes:
        samples = self._samples(split, most)
        cells = F.normalize(image_cells(self.encoder, [sample.picture for sample in samples]), dim=-1)
        boxes = torch.tensor([_box(sample) for sample in samples])
        labels = torch.tensor([self.classes.index(str(sample.label)) for sample in samples])
        return _Scenes(cells, covered(boxes, _side(cells)), labels)

    def _learned(self, method: str, settings: Mapping[str, Any], count: int) -> tuple[FewShotMethod, float]:
        """A method that has learned from so many scenes a noun, and the seconds of the processor that it took."""
        there = self._scenes(SPLITS[0], count)
        labels = torch.where(there.inside, there.labels[:, None], len(self.classes)).flatten()
        rows = there.cells.flatten(0, 1)
        ids = tuple(map(str, range(len(rows))))
        names = class_names((*self.classes, NOTHING))
        start = time.process_time()
        found = few_shot.learn(
            method, self.encoder, names, Shots(ids, labels, rows, rows), overrides=settings, seed=self.seed
        )
        return found, time.process_time() - start


def covered(boxes: Float[Tensor, "N 4"], side: int) -> Bool[Tensor, "N P"]:
    """The cells whose middle lies in a box; where no middle does, the cell in which the middle of the box lies.

    Args:
        boxes: x0 y0 x1 y1 from 0 to 1.
        side: cells of a row, and of a column; P is its square.
    """
    middles = (torch.arange(side) + 0.5) / side
    y, x = (each.flatten() for each in torch.meshgrid(middles, middles, indexing="ij"))
    left, top, right, bottom = boxes.T[..., None]
    inside = (x >= left) & (x <= right) & (y >= top) & (y <= bottom)
    distance = (x - (left + right) / 2) ** 2 + (y - (top + bottom) / 2) ** 2
    return inside | (~inside.any(dim=1, keepdim=True) & (distance == distance.amin(dim=1, keepdim=True)))


def _side(cells: Float[Tensor, "N P D"]) -> int:
    """Cells of a row.

    Raises:
        DeixisError: they are no square.
    """
    side = math.isqrt(cells.shape[1])
    if side**2 != cells.shape[1]:
        raise DeixisError(f"The {cells.shape[1]} cells of an image are no square.", "Take a model with square grids.")
    return side


def _box(sample: Sample) -> tuple[float, float, float, float]:
    """Of the one thing that is of the scene's noun."""
    return next(region.box for region in sample.regions if region.category == sample.label)


def _pointed(method: FewShotMethod, held: _Scenes) -> Float[Tensor, " N"]:
    """1 where the best cell for the noun of a scene lies on the thing, else 0."""
    rows = held.cells.flatten(0, 1)
    scores = few_shot.logits(method, rows, rows).unflatten(0, held.cells.shape[:2])
    own = scores[torch.arange(len(scores)), :, held.labels]
    return held.inside[torch.arange(len(own)), own.argmax(dim=1)].float()


def make(options: Options, seed: int) -> MarkedTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the nouns, the scenes and the methods.

    Raises:
        DeixisError: a value is out of range, the cast has too few nouns, or it is not in the cache.
    """
    require_least(options, classes=2, validation=1, test=1)
    if len(options.marked) < 2 or list(options.marked) != sorted(set(options.marked)) or options.marked[0] < 1:
        raise DeixisError(f"marked is {options.marked}.", "Give at least two numbers, ascending.")
    unseen = {str(sample.label).removesuffix(" face") for sample in catalogue.read(_UNSEEN).samples}
    ((classes, others),) = class_sets(options.cast, 1, options.classes, seed, unseen)
    each = dict(zip(SPLITS, (options.marked[-1], options.validation, options.test), strict=True))
    source = clutter(classes, others, each, seed, cast=options.cast, objects=options.objects, side=options.side)
    return MarkedTask(_encoder(options.model), source, classes, options.marked, seed)


@functools.cache
def _encoder(model: str) -> DualEncoder:
    return zoo.load(model)
