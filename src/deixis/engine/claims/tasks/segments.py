"""Where claims about features that know where meet: small scenes of large shapes, and what a linear map of cells sees.

Towers are trained on crops of scenes without any words or masks. Afterwards a linear classifier of cells, a convolution
of 1 x 1, is fitted on the frozen maps of other scenes, whose masks are known, and names the class of each pixel of the
scenes that are held out. Beside: what pooled features say of which shapes are there, and how far colours alone lead.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from deixis.data.loading.crops import seen_mask
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.cells.linear_cells import (
    ITERATIONS,
    cell_labels,
    class_map,
    fit_linear_cells,
    mean_iou,
)
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.encoders import ImageHalf
from deixis.ops.logistic import linear_layer
from deixis.types import Region, Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersEncodeImage, OffersImageTokens
from deixis.zoo import fine_resnet

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Scenes of large shapes without words: the class of each pixel from frozen features",
    metrics=("dense", "dense_colours", "labels"),
    passes=("deixis.nn.vision.fine_resnet",),
)

_PENALTY = 1e-6
_BATCH, _OUT = 100, 32


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `segments`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`, and so are `objects` and `scale`.
        objects: the fewest and the most things in a scene.
        scale: factor on the size of things; at 1 they cover a twelfth of a scene, and all arms are alike.
        side: of the images, in pixels.
        count: scenes to train on.
        probe: scenes with masks that the linear classifier is fitted on.
        held: scenes to tune on, and as many to report on.
        channels: of the stem of the tower, a ResNet with a stride of 8.
        batch_size: scenes a step.
    """

    cast: str = "shapes"
    objects: tuple[int, int] = (1, 3)
    scale: float = 2.0
    side: int = 64
    count: int = 4_000
    probe: int = 200
    held: int = 300
    channels: int = 8
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the scenes.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, count=2, probe=2, held=2, batch_size=2)
    config = SceneConfig(
        cast=options.cast, objects=options.objects, repeats=1, tinted=1.0, phrases=0, questions=0, scale=options.scale
    )
    # The scenes of the classifier are the last of those of the split, which nothing is trained on.
    every = scenes(seed, options.count + options.probe, split=SPLITS[0], side=options.side, config=config)
    train = dataclasses.replace(every, samples=every.samples[: options.count])
    probe = every.samples[options.count :]
    validation, test = (
        scenes(seed, options.held, split=split, side=options.side, config=config) for split in SPLITS[1:]
    )

    def encoder(number: int) -> ImageHalf:
        return fine_resnet.build(options.channels, _OUT, options.side, number)

    measures = {
        "dense": _dense(probe, _cells),
        "dense_colours": _dense(probe, _colours),
        "labels": _labels(probe),
    }
    return TrainingTask(train, validation, test, encoder, options.batch_size, measures=measures)


class _Maps(NamedTuple):
    """Features of cells, and the shape of their grid."""

    states: Float[Tensor, "B N D"]
    grid: tuple[int, int]


def _blocks(method: Any, samples: Sequence[Sample], call: Callable[[Tensor], Tensor]) -> Tensor:
    preprocess = preprocess_of(method)
    with eval_without_grad(method):
        parts = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        return torch.cat([call(preprocess.read([sample.picture for sample in some])) for some in parts]).double()


def _cells(method: AnyMethod, samples: Sequence[Sample]) -> _Maps:
    """What the method gives of each cell."""
    if not offers(method, OffersImageTokens):
        raise DeixisError("The method gives no features of places.", "Measure something else of it.")
    grids: set[tuple[int, int] | None] = set()

    def states(images: Tensor) -> Tensor:
        found = method.image_tokens(images)
        grids.add(found.grid)
        return found.states

    rows = _blocks(method, samples, states)
    grid = grids.pop()
    assert grid is not None
    return _Maps(rows, grid)


def _colours(method: AnyMethod, samples: Sequence[Sample]) -> _Maps:
    """The mean colour of each cell of the method's grid: what needs no tower."""
    grid = _cells(method, samples[:1]).grid

    def means(images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, grid).flatten(2).transpose(1, 2)

    return _Maps(_blocks(method, samples, means), grid)


def _shown(samples: Sequence[Sample], nouns: Sequence[str], preprocess: Preprocess) -> Int64[Tensor, "B H W"]:
    """The class of each pixel: 0 the background, n + 1 noun n."""

    def pixels(region: Region) -> Tensor:
        return seen_mask(region, preprocess)

    return torch.stack([class_map(sample.regions, nouns, pixels, preprocess.size) for sample in samples])


def _nouns(probe: Sequence[Sample]) -> list[str]:
    return sorted({region.category for sample in probe for region in sample.regions})


def _known(samples: Sequence[Sample], nouns: Sequence[str]) -> list[Sample]:
    """Those that hold only things that the classifier could learn."""
    return [each for each in samples if {region.category for region in each.regions} <= set(nouns)]


def _dense(
    probe: Sequence[Sample], features: Callable[[AnyMethod, Sequence[Sample]], _Maps]
) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """One value a scene: the mean over the nouns in it of intersection over union."""

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        preprocess, nouns = preprocess_of(method), _nouns(probe)
        maps, count = features(method, probe), len(nouns) + 1
        labels = cell_labels(_shown(probe, nouns, preprocess), count, maps.grid)
        classifier = fit_linear_cells(maps.states.flatten(0, 1), labels.flatten(), count, _PENALTY)
        samples = _known(source.samples, nouns)
        held = features(method, samples)
        predicted = classifier.classes(held.states, held.grid, (preprocess.size, preprocess.size))
        shown = _shown(samples, nouns, preprocess)
        return torch.stack([mean_iou(*each) for each in zip(predicted, shown, strict=True)])

    return measured


def _labels(probe: Sequence[Sample]) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """One value a scene: the average precision of the nouns, ranked by a linear classifier of pooled features each."""

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        nouns = _nouns(probe)
        samples = _known(source.samples, nouns)
        rows, asked = (_pooled(method, some) for some in (probe, samples))
        there, shown = (
            torch.tensor([[noun in {r.category for r in each.regions} for noun in nouns] for each in some])
            for some in (probe, samples)
        )
        scores = []
        for own in there.T:
            weight, intercept = linear_layer(rows, own.long(), 2, _PENALTY, iterations=ITERATIONS)
            scores.append(asked @ (weight[1] - weight[0]) + intercept[1] - intercept[0])
        order = torch.stack(scores, dim=1).argsort(dim=1, descending=True)
        right = shown.gather(1, order).double()
        precision = right.cumsum(dim=1) / torch.arange(1, len(nouns) + 1)
        return (precision * right).sum(dim=1) / right.sum(dim=1)

    return measured


def _pooled(method: AnyMethod, samples: Sequence[Sample]) -> Float[Tensor, "N D"]:
    if not offers(method, OffersEncodeImage):
        raise DeixisError("The method gives no features of images.", "Measure something else of it.")
    return _blocks(method, samples, method.encode_image)
