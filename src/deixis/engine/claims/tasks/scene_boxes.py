"""Where claims about features that know where meet boxes: the scenes of `segments`, and a detector on frozen maps.

Towers are trained as there. Afterwards two convolutions of 3 x 3, the detector of the protocol `detect`, are fitted on
the frozen maps of other scenes, whose boxes are known, and find the things of the scenes that are held out.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import segments
from deixis.engine.evaluation.average_precision import BoxRow
from deixis.engine.evaluation.cells.ap50 import average_precision_50
from deixis.engine.evaluation.cells.centre_boxes import box_rows, decode_centres, fit_centres
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.nn.dense.window_maps import grid_map
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersImageTokens

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Scenes of large shapes without words: boxes by a detector on frozen features",
    metrics=("ap50",),
    passes=("deixis.nn.vision.fine_resnet",),
)

_BATCH = 100


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `scene_boxes`; what is not named is as in the task `segments`.

    Attributes:
        side: of the images, in pixels.
        count: scenes to train on.
        probe: scenes with boxes that the detector is fitted on.
        held: scenes to tune on, and as many to report on.
        channels: of the stem of the tower.
        batch_size: scenes a step.
    """

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
    wider = dataclasses.asdict(options) | {"count": options.count + options.probe}
    made = segments.make(segments.Options(**wider), seed)
    samples = made.train.samples
    # The scenes of the detector are the last, which nothing is trained on.
    train = dataclasses.replace(made.train, samples=samples[: options.count])
    return dataclasses.replace(made, train=train, measures={"ap50": _ap50(samples[options.count :])})


def _ap50(probe: Sequence[Sample]) -> Callable[[AnyMethod, Source], Float[Tensor, " C"]]:
    """One value a noun: AP at an IoU of 0.5 over all scenes at once, as COCO computes it."""
    nouns = sorted({region.category for sample in probe for region in sample.regions})

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " C"]:
        boxes, categories = zip(*(_boxes(sample, nouns) for sample in probe), strict=True)
        head = fit_centres(_maps(method, probe), boxes, categories, len(nouns))
        with torch.no_grad():
            outputs = head(_maps(method, source.samples))
        predicted = [row for picture, output in enumerate(outputs) for row in box_rows(picture, decode_centres(output))]
        truth = [
            BoxRow(picture, nouns.index(region.category), region.box)
            for picture, sample in enumerate(source.samples)
            for region in sample.regions
            if region.category in nouns
        ]
        found = torch.from_numpy(average_precision_50(len(nouns), truth, predicted))
        return found[found.isfinite()]

    return measured


def _boxes(sample: Sample, nouns: Sequence[str]) -> tuple[Float[Tensor, "T 4"], Int64[Tensor, " T"]]:
    boxes = torch.tensor([region.box for region in sample.regions], dtype=torch.float32)
    return boxes, torch.tensor([nouns.index(region.category) for region in sample.regions], dtype=torch.long)


def _maps(method: AnyMethod, samples: Sequence[Sample]) -> Float[Tensor, "N D h w"]:
    preprocess, maps = preprocess_of(method), list[Tensor]()
    with eval_without_grad(method):
        if not offers(method, OffersImageTokens):
            raise DeixisError("The method gives no features of places.", "Measure something else of it.")
        for start in range(0, len(samples), _BATCH):
            images = preprocess.read([each.picture for each in samples[start : start + _BATCH]])
            maps.append(grid_map(method.image_tokens(images)))
    return torch.cat(maps)
