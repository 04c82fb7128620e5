"""Where claims about the same thing in another style meet: emoji, drawn in six styles, of concepts never seen."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from torch import Tensor

from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.tasks.people import same_person
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make", "same_emoji"]

TASK = TaskCard(
    title="Emoji in six styles with their names: trained on some concepts, others are to be found again across styles",
    metrics=("same_emoji",),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `same_emoji`.

    Attributes:
        held: concepts to tune on, and as many to report on.
        side: of the images, in pixels.
        image: the image tower, as in `deixis.zoo.scratch.build`.
        size: of the towers, one of `deixis.zoo.scratch.SIZES`.
        batch_size: pictures a step.
    """

    held: int = 200
    side: int = 64
    image: str = "resnet"
    size: str = "small"
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task: whole concepts are dealt out, so that no style of one is on two sides.

    Args:
        options: see `Options`.
        seed: of which concepts are where.

    Raises:
        DeixisError: a value is out of range, or the set is not in the cache.
    """
    require_least(options, held=2, batch_size=2)
    whole = catalogue.read("emoji-styles")
    concepts: dict[str, list[Sample]] = {}
    for sample in whole.samples:
        one = dataclasses.replace(sample, groups=sample.groups[:1])
        concepts.setdefault(one.groups[0], []).append(one)
    names = list(concepts)
    order = [names[i] for i in np.random.Generator(np.random.PCG64(seed)).permutation(len(names))]
    held = options.held
    validation, test, train = order[:held], order[held : 2 * held], order[2 * held :]
    if options.batch_size > sum(len(concepts[name]) for name in train):
        raise DeixisError(
            f"{2 * held} of {len(names)} concepts are held out, too many for batches of {options.batch_size}.",
            "Hold out fewer, or request smaller batches.",
        )

    def source(chosen: list[str]) -> Source:
        samples = tuple(sample for name in chosen for sample in concepts[name])
        return dataclasses.replace(whole, samples=samples, skipped=())

    learned = source(train)
    texts = tuple(caption for sample in learned.samples for caption in sample.captions)

    def encoder(number: int) -> DualEncoder:
        return scratch.build(texts, options.size, options.side, number, image=options.image)

    measures = {"same_emoji": same_emoji}
    return TrainingTask(learned, source(validation), source(test), encoder, options.batch_size, measures=measures)


def same_emoji(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """The average precision of each drawing looking for the same concept in the other styles."""
    return same_person(method, source)
