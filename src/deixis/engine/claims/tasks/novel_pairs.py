"""Where claims about detectors of names that were never boxed meet: pairs of noun and colour, some without any box.

A dual encoder is trained once a seed on captions of single things, in which all pairs occur, and cached, as in the task
`masks`. An arm learns from captions of clutter and from boxes of the base pairs, and is queried for every novel pair in
scenes of cut-outs that were in neither.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.tasks import masks
from deixis.engine.evaluation.average_precision import BoxRow
from deixis.engine.evaluation.cells.ap50 import average_precision_50
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of, tokenized
from deixis.engine.training.stages import name_of, offers
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import OffersGround
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make", "pair_names"]

TASK = TaskCard(
    title="Scenes with boxes of some pairs of noun and colour: the others are known from captions alone",
    metrics=("novel_ap50", "base_ap50"),
    passes=("deixis.zoo.scratch",),
)

_BATCH, _BOXES = 50, 20
_BOXED, _CAPTIONED = 10_000, 20_000
"""What the seeds of scenes with boxes and with captions are above the task's."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `novel_pairs`.

    Attributes:
        nouns: of the things; each has two colours in which it is novel.
        objects: the fewest and the most things in a scene.
        scale: factor on their size.
        side: of the images, in pixels.
        count: scenes with boxes of the base pairs.
        held: scenes to tune on, and as many to report on.
        captions: scenes with captions.
        image: the trunk: `resnet`, CLIP's with a stride of 8, which learned names from scenes of a single thing; or
            `vit-mean`, a transformer of random weights, for arms that train it.
        steps: that the former learned for, see the task `masks`.
        channels: of its stem.
        batch_size: scenes a step of the arms.
    """

    nouns: tuple[str, ...] = ("arrow", "circle", "cross", "heart", "ring", "star")
    objects: tuple[int, int] = (3, 5)
    scale: float = 0.8
    side: int = 64
    count: int = 400
    held: int = 100
    captions: int = 2000
    image: Literal["resnet", "vit-mean"] = "resnet"
    steps: int = 800
    channels: int = 8
    batch_size: int = 16


def pair_names(nouns: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The base pairs and the novel ones, such as `red heart`; of each noun two colours are novel.

    Args:
        nouns: in order.
    """
    colours = list(COLOURS)
    novel = {(noun, colours[(2 * place + k) % len(colours)]) for place, noun in enumerate(nouns) for k in (0, 3)}
    both = [(noun, colour) for noun in nouns for colour in colours]
    base, rest = ([f"{c} {n}" for n, c in both if ((n, c) in novel) == which] for which in (False, True))
    return tuple(base), tuple(rest)


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; trains the encoder where the cache does not hold it: some three minutes.

    Args:
        options: see `Options`.
        seed: of the scenes and the encoder.

    Raises:
        DeixisError: a value is out of range.
    """
    require_least(options, count=2, held=2, captions=2, steps=0, batch_size=2)
    names = masks.Options(nouns=options.nouns, side=options.side, steps=options.steps, channels=options.channels)
    own = dataclasses.replace(names, objects=options.objects, scale=options.scale)
    captioned = masks.scene_source(own, SPLITS[0], options.captions, seed + _CAPTIONED)
    boxed = masks.scene_source(own, SPLITS[0], options.count, seed + _BOXED)
    base, novel = pair_names(options.nouns)
    validation, test = (
        _paired(masks.scene_source(own, split, options.held, seed), (*base, *novel)) for split in SPLITS[1:]
    )
    if options.image == "resnet":
        trained = masks.trained_encoder(names, seed)
    else:
        texts = [caption for sample in captioned.samples for caption in sample.captions]
        trained = scratch.build(texts, "small", options.side, seed, "transformer", options.image)

    def encoder(number: int) -> DualEncoder:
        return copy.deepcopy(trained)

    measures = {f"{kind}_ap50": _Measure(which) for kind, which in (("novel", novel), ("base", base))}
    sources = {"captions": dataclasses.replace(captioned, name="captions")}
    train = _paired(boxed, base)
    return TrainingTask(train, validation, test, encoder, options.batch_size, sources=sources, measures=measures)


def _paired(source: Source, names: Sequence[str]) -> Source:
    """Regions by colour and noun, of these names alone; scenes that have one."""
    samples = []
    for sample in source.samples:
        regions = [
            dataclasses.replace(region, category=f"{region.attributes['colour']} {region.category}", mask=None)
            for region in sample.regions
        ]
        left = tuple(region for region in regions if region.category in names)
        if left:
            samples.append(dataclasses.replace(sample, regions=left))
    return dataclasses.replace(source, samples=tuple(samples))


@dataclasses.dataclass(frozen=True)
class _Measure:
    """Average precision at an IoU of 0.5 of each name that is shown anywhere: one value a name.

    Attributes:
        names: that every scene is queried for.
    """

    names: tuple[str, ...]

    def __call__(self, method: Any, source: Source) -> Float[Tensor, " Q"]:
        """The values.

        Args:
            method: that finds phrases.
            source: scenes with boxes.

        Raises:
            DeixisError: it finds none.
        """
        able: object = method
        if not offers(able, OffersGround):
            raise DeixisError(f"{name_of(method)} finds no phrases.", "Measure something else of it.")
        predicted, truth = list[BoxRow](), list[BoxRow]()
        for row, sample in enumerate(source.samples):
            truth += [
                BoxRow(row, self.names.index(r.category), r.box) for r in sample.regions if r.category in self.names
            ]
        with eval_without_grad(method):
            for start in range(0, len(source.samples), _BATCH):
                predicted += self._found(method, source.samples[start : start + _BATCH], start)
        values = torch.from_numpy(average_precision_50(len(self.names), truth, predicted))
        return values[values.isfinite()]

    def _found(self, method: Any, samples: Sequence[Sample], first: int) -> list[BoxRow]:
        images = preprocess_of(method).read([sample.picture for sample in samples])
        rows = []
        for place, (ids, mask) in enumerate(tokenized(method, [f"a {name}" for name in self.names])):
            count = len(samples)
            boxes, scores = method.ground(images, ids.expand(count, -1), mask.expand(count, -1)).best(_BOXES)
            rows += [
                BoxRow(first + row, place, (box[0], box[1], box[2], box[3]), score)
                for row in range(count)
                for box, score in zip(boxes[row, 0].tolist(), scores[row, 0].tolist(), strict=True)
                if score > -torch.inf
            ]
        return rows
