"""Where claims about towers for few labels meet: garments, of which some are named after a tower has seen many.

A tower learns from pictures without labels, or from the labelled ones alone as long. Whatever it learned from, it is
then fine-tuned as a whole, with a new linear classifier, on the same few pictures of each kind; what is reported is
whether other garments are named rightly.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.tasks.styles import first_of_each
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.fine_tuning import FineTuning, fine_tune, fresh_head, renew
from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.nn.modes import evaluating
from deixis.nn.vision.any_size import pooled
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.zoo import fine_resnet

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Garments with few labels: a tower that has learned from many pictures is fine-tuned on a few of each kind",
    metrics=("fine_tuned",),
    passes=("deixis.nn.vision.fine_resnet", "deixis.nn.vision.any_size", "deixis.engine.training.fine_tuning"),
)

_OUT, _BATCH, _DECAY = 32, 500, 0.05


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `few_labels`.

    Attributes:
        pictures: what the tower learns from first: those `unlabelled`, or those `labelled`, with their labels.
        count: pictures without labels.
        labels: labelled pictures of each kind.
        held: pictures to tune on, and as many to report on.
        rate: learning rate of fine-tuning.
        steps: of fine-tuning, each of 64 pictures.
        channels: of the stem of the tower, a ResNet with a stride of 8.
        side: of the pictures, in pixels.
        batch_size: pictures a step, before fine-tuning.
    """

    pictures: Literal["unlabelled", "labelled"] = "unlabelled"
    count: int = 50_000
    labels: int = 20
    held: int = 2_000
    rate: float = 1e-3
    steps: int = 200
    channels: int = 8
    side: int = 32
    batch_size: int = 128


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; the labelled pictures and those held out hang on the seed alone.

    Args:
        options: see `Options`.
        seed: of which pictures are where.

    Raises:
        DeixisError: a value is out of range, or the set is not in the cache.
    """
    require_least(options, count=2, labels=1, held=10, steps=1, batch_size=2)
    if options.pictures not in ("unlabelled", "labelled"):  # a claim's options are not checked by their types
        raise DeixisError(f"pictures is {options.pictures!r}.", "It is unlabelled or labelled.")
    rng = np.random.Generator(np.random.PCG64((seed, 13)))
    source, test = catalogue.read("fashion/train"), catalogue.read("fashion/test")
    order = [source.samples[i] for i in rng.permutation(len(source.samples))]
    validation, rest = order[: options.held], order[options.held :]
    labelled, pool = first_of_each(rest, options.labels)
    reported = [test.samples[i] for i in rng.permutation(len(test.samples))[: options.held]]
    bare = [dataclasses.replace(sample, label=None) for sample in pool[: options.count]]
    train = bare if options.pictures == "unlabelled" else _repeated(labelled, options.batch_size)

    def encoder(number: int) -> ImageHalf:
        return fine_resnet.build(options.channels, _OUT, options.side, number)

    learned, chosen, held = (dataclasses.replace(source, samples=tuple(part)) for part in (train, validation, reported))
    measures = {"fine_tuned": _measure(labelled, options, seed)}
    return TrainingTask(learned, chosen, held, encoder, options.batch_size, measures=measures)


def _repeated(samples: Sequence[Sample], least: int) -> list[Sample]:
    """As often as a batch needs, each time by another name."""
    times = -(-least // len(samples))
    return [dataclasses.replace(each, id=f"{each.id} {number}") for number in range(times) for each in samples]


def _measure(labelled: Sequence[Sample], options: Options, seed: int) -> Callable[[Any, Source], Tensor]:
    """Whether a copy of the tower that is fine-tuned on the labelled pictures names each garment."""

    def fine_tuned(method: Any, source: Source) -> Float[Tensor, " Q"]:
        kinds = sorted({str(sample.label) for sample in labelled})
        labels, wanted = (
            torch.tensor([kinds.index(str(each.label)) for each in some]) for some in (labelled, source.samples)
        )
        tower = copy.deepcopy(method.encoder)
        head, features = fresh_head(tower.width, len(kinds)), functools.partial(pooled, tower)
        read = preprocess_of(method).read
        images = read([sample.picture for sample in labelled])
        how = FineTuning(options.rate, _DECAY, options.steps)
        fine_tune(tower, head, features, images.__getitem__, labels, how, seed)
        renew(tower, features, [images])
        found = []
        with evaluating(tower), torch.no_grad():
            for start in range(0, len(source.samples), _BATCH):
                pictures = [sample.picture for sample in source.samples[start : start + _BATCH]]
                found.append(head(pooled(tower, read(pictures))).argmax(dim=1))
        return (torch.cat(found) == wanted).float()

    return fine_tuned
