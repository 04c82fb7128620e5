"""Where claims about individuals meet: drawn people, whom captions are to find among people never seen."""

from __future__ import annotations

import dataclasses

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data.synthetic.people import people
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.similarity.identity import IdentityRanks, identity_ranks
from deixis.types import Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersVectors
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make", "person_from_text", "same_person"]

TASK = TaskCard(
    title="Drawn people with captions: trained on some, others are to be found",
    metrics=("person_from_text", "same_person"),
)

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `people`.

    Attributes:
        count: people, over all splits.
        side: of the images, in pixels; those of 64 x 32 are stretched.
        image: the image tower, as in `deixis.zoo.scratch.build`.
        size: of the towers, one of `deixis.zoo.scratch.SIZES`.
        batch_size: pictures a step.
    """

    count: int = 2000
    side: int = 64
    image: str = "resnet"
    size: str = "small"
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the people.

    Raises:
        DeixisError: a value is out of range.
    """
    train, validation, test = (people(seed, options.count, split) for split in ("train", "val", "test"))
    if not 2 <= options.batch_size <= len(train.samples):
        raise DeixisError(
            f"A batch of {options.batch_size} is requested, and there are {len(train.samples)} pictures.",
            "Request batches of 2 or more, and no more than there are pictures.",
        )
    texts = tuple(caption for sample in train.samples for caption in sample.captions)

    def encoder(number: int) -> DualEncoder:
        return scratch.build(texts, options.size, options.side, number, image=options.image)

    measures = {"person_from_text": person_from_text, "same_person": same_person}
    return TrainingTask(train, validation, test, encoder, options.batch_size, measures=measures)


def person_from_text(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """1 where the nearest picture to a caption shows whom it was written of; the first caption of each picture."""
    return (_ranks(method, source, by_text=True).first == 1).double()


def same_person(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """The average precision of each picture looking for the other pictures of its person."""
    return _ranks(method, source, by_text=False).precision


def _ranks(method: AnyMethod, source: Source, *, by_text: bool) -> IdentityRanks:
    encoder, samples = require_encoder(method), source.samples
    numbers = {key: number for number, key in enumerate(dict.fromkeys(sample.groups[0] for sample in samples))}
    ids = torch.tensor([numbers[sample.groups[0]] for sample in samples])
    with eval_without_grad(method):
        if not offers(method, OffersVectors):
            raise DeixisError("The method has no one vector of a picture.", "Measure something else of it.")
        image, text = list[Tensor](), list[Tensor]()
        for start in range(0, len(samples), _BATCH):
            block = samples[start : start + _BATCH]
            image.append(method.encode_image(encoder.read_images([sample.picture for sample in block])))
            if by_text:
                text.append(method.encode_text(*encoder.tokenize([sample.captions[0] for sample in block])))
    gallery = torch.cat(image)
    if by_text:
        return identity_ranks(torch.cat(text), gallery, ids, ids)
    return identity_ranks(gallery, gallery, ids, ids, torch.arange(len(ids)))
