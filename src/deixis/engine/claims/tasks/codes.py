"""Where claims about codes meet: garments, seen as they are, and what a linear classifier tells from frozen codes.

Models learn from pictures without labels and without augmentation. The classifier is fitted on other pictures, on the
code or on other places of the same model; and on a random map of the code to the width of the decoder's states, which
tells what the width alone is worth.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.ops.logistic import linear_layer
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod
from deixis.zoo import fine_resnet

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Garments as they are: kinds told from frozen codes",
    metrics=("code", "decoder", "random_map", "encoder"),
    passes=("deixis.nn.vision.fine_resnet",),
)

_OUT, _BATCH, _PENALTY, _ITERATIONS = 32, 500, 1e-5, 300


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `codes`.

    Attributes:
        count: pictures to train on.
        probe: pictures that the linear classifier is fitted on.
        held: pictures to tune on, and as many to report on.
        channels: of the stem of the tower, a ResNet with a stride of 8.
        batch_size: pictures a step.
    """

    count: int = 30_000
    probe: int = 2_000
    held: int = 2_000
    channels: int = 4
    batch_size: int = 128


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of which pictures are where.

    Raises:
        DeixisError: a value is out of range, or the set is not in the cache.
    """
    require_least(options, count=2, probe=20, held=20, batch_size=1)
    rng = np.random.Generator(np.random.PCG64((seed, 11)))
    source, test = catalogue.read("fashion/train"), catalogue.read("fashion/test")
    order = [source.samples[i] for i in rng.permutation(len(source.samples))]
    ends = np.cumsum((options.count, options.probe, options.held)).tolist()
    probe = order[ends[0] : ends[1]]
    reported = [test.samples[i] for i in rng.permutation(len(test.samples))[: options.held]]

    def encoder(number: int) -> ImageHalf:
        return fine_resnet.build(options.channels, _OUT, 28, number)

    learned, chosen, held = (
        dataclasses.replace(source, samples=tuple(part))
        for part in (order[: ends[0]], order[ends[1] : ends[2]], reported)
    )
    measures = {name: _measure(probe, name, seed) for name in TASK.metrics}
    return TrainingTask(learned, chosen, held, encoder, options.batch_size, measures=measures)


def _measure(probe: Sequence[Sample], name: str, seed: int) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """Whether a linear classifier of the features of a place names each garment."""

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        kinds = sorted({str(sample.label) for sample in probe})
        labels, wanted = (
            torch.tensor([kinds.index(str(each.label)) for each in some]) for some in (probe, source.samples)
        )
        place = "code" if name == "random_map" else name
        rows, held = _standardised(_features(method, probe, place), _features(method, source.samples, place))
        if name == "random_map":
            width = _features(method, probe[:1], "decoder").shape[1]
            turn = torch.randn(rows.shape[1], width, generator=torch.Generator().manual_seed(seed)).double()
            rows, held = _standardised((rows @ turn).relu(), (held @ turn).relu())
        weight, intercept = linear_layer(rows, labels, len(kinds), _PENALTY, iterations=_ITERATIONS)
        return ((F.normalize(held, dim=1) @ weight.T + intercept).argmax(dim=1) == wanted).float()

    return measured


def _standardised(rows: Tensor, held: Tensor) -> tuple[Float[Tensor, "N D"], Float[Tensor, "M D"]]:
    mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-6)
    return (rows - mean) / deviation, (held - mean) / deviation


def _features(method: Any, samples: Sequence[Sample], place: str) -> Float[Tensor, "N D"]:
    preprocess = preprocess_of(method)
    if "at" not in inspect.signature(method.encode_image).parameters:
        raise DeixisError("The method has one place to read features at.", "Take one with codes.")
    with eval_without_grad(method):
        blocks = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        return torch.cat(
            [method.encode_image(preprocess.read([each.picture for each in some]), at=place) for some in blocks]
        ).double()
