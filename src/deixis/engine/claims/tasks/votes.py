"""Where claims about votes meet: coloured clothes with captions, and triplets of the training pictures with votes.

No votes of people can be had here. *Proxy votes* are the frozen starter's: a variant has the vote where it is nearer to
the reference both in the pictures as they are and mirrored. What training on them brings over other votes is at most
what ImageNet taught the starter.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deixis import zoo
from deixis.data.synthetic.coloured_clothes import coloured_clothes
from deixis.data.synthetic.triplets import triplets, with_votes
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json
from deixis.inputs.images import load_image
from deixis.nn.dual import DualEncoder
from deixis.ops.similarity.triplets import cosine_distance
from deixis.types import Source
from deixis.types.cards import TaskCard
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make", "pixel_votes", "proxy_votes", "shuffled"]

TASK = TaskCard(
    title="Clothes in colours with captions, and votes on which of two variants of a picture looks more like it",
    metrics=("zero_shot", "recall_at_1"),
)

_BLOCK = 16
_VOTED = 0  # the seed of the triplets: one set for all seeds, as people's votes would be


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `votes`.

    Attributes:
        votes: `proxy` (the frozen starter's), `shuffled` (the same, dealt out at random), `pixel` (of the variants the
            one whose pixels differ less) or `none` (no triplets).
        triplets: how many are made; those on which the two views disagree are left out.
        count: pairs to train on.
        held: pictures to tune on, and as many to report on.
        image: the image tower, see `deixis.zoo.scratch.build`.
        size: of both towers, see there.
        side: of the pictures, in pixels.
        batch_size: pairs, or triplets, a step.
    """

    votes: Literal["proxy", "shuffled", "pixel", "none"] = "proxy"
    triplets: int = 1600
    count: int = 2000
    held: int = 1000
    image: str = "resnet"
    size: str = "small"
    side: int = 32
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; the pairs are the same whatever the votes, and the triplets whatever the seed.

    Args:
        options: see `Options`.
        seed: of the pairs, and of how shuffled votes are dealt out.

    Raises:
        DeixisError: a value is out of range, or the starter or a set is not in the cache.
    """
    require_least(options, count=options.batch_size, held=2, batch_size=2)
    parts = {"train": options.count, "val": options.held, "test": options.held}
    train, validation, test = (coloured_clothes(seed, count, part, options.side) for part, count in parts.items())
    texts = tuple(caption for sample in train.samples for caption in sample.captions)

    def encoder(number: int) -> DualEncoder:
        return scratch.build(texts, options.size, options.side, number, image=options.image)

    task = TrainingTask(train, validation, test, encoder, options.batch_size)
    if options.votes == "none":
        return task
    plain = triplets(coloured_clothes(_VOTED, options.count, "train", options.side), _VOTED, options.triplets)
    if options.votes == "pixel":
        voted = with_votes(plain, pixel_votes(plain))
    else:
        voted = with_votes(plain, _stored_votes(plain, options))
        voted = shuffled(voted, seed) if options.votes == "shuffled" else voted
    if len(voted.samples) < options.batch_size:
        raise DeixisError(
            f"Of {options.triplets} triplets {len(voted.samples)} have a vote, and a batch has {options.batch_size}.",
            "Ask for more triplets.",
        )
    return dataclasses.replace(task, sources={"triplets": voted})


def _stored_votes(source: Source, options: Options) -> list[float | None]:
    """Those of the starter, computed once: all arms and units of a claim read the same."""
    key = json.dumps([options.triplets, options.count, options.side, _VOTED, "clothes, resnet and mirror"])
    path = cache_dir("votes") / f"{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, proxy_votes(source))
    votes: list[float | None] = json.loads(path.read_text(encoding="utf-8"))
    return votes


def proxy_votes(source: Source, model: str = "starter") -> list[float | None]:
    """What a frozen model says: 1 where the right variant is nearer to the reference, also mirrored; None where it says
    one thing of the pictures as they are and another mirrored.

    Args:
        source: triplets.
        model: by name.
    """
    encoder = zoo.load(model).eval()
    votes: list[float | None] = []
    for start in range(0, len(source.samples), _BLOCK):
        pictures = [
            picture for sample in source.samples[start : start + _BLOCK] for picture in sample.extra["triplets"]
        ]
        images = encoder.read_images(pictures)
        with torch.no_grad():
            both = [_right(encoder.encode_image(view)) for view in (images, images.flip(3))]
        votes += [float(one) if one == other else None for one, other in zip(*both, strict=True)]
    return votes


def _right(vectors: Float[Tensor, "M D"]) -> list[bool]:
    reference, left, right = vectors.unflatten(0, (-1, 3)).unbind(1)
    nearer: list[bool] = (cosine_distance(reference, right) < cosine_distance(reference, left)).tolist()
    return nearer


def pixel_votes(source: Source) -> list[float | None]:
    """1 where the right variant differs less from the reference, pixel by pixel."""
    votes: list[float | None] = []
    for sample in source.samples:
        reference, left, right = (load_image(picture).float() for picture in sample.extra["triplets"])
        votes.append(float((right - reference).square().mean() < (left - reference).square().mean()))
    return votes


def shuffled(source: Source, seed: int) -> Source:
    """The same triplets, their votes dealt out at random."""
    votes: Sequence[float] = [sample.extra["votes"] for sample in source.samples]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(votes))
    return with_votes(source, [votes[i] for i in order])
