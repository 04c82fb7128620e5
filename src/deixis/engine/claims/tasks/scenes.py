"""Where claims about training meet: scenes to train on, to tune on and to report on, and a new encoder for each run."""

from __future__ import annotations

import dataclasses
import zlib
from typing import Literal

from deixis.data.synthetic.scenes import SceneConfig, caption_noise, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS, assemble, part
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.types import Source
from deixis.types.cards import TaskCard
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Generated scenes with captions: trained on some, measured on others",
    metrics=(
        *("recall_at_1", "zero_shot", "binding", "pointing", "pointing_norm_grad", "pointing_grad_cam"),
        *("composed", "composed_image_alone", "composed_text_alone"),
    ),
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `scenes`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`: `stamps`, `emoji/all`, `shapes` (nothing to fetch)...
        nouns: how many there are, of those that all splits hold; 0: all.
        unseen: what the splits do not share, as in `SceneConfig`.
        objects: the fewest and the most things in a scene.
        held_objects: the same of the scenes to tune and report on; None: as in training.
        held_nouns: how many nouns those have, the first of all: few make scenes that nearly repeat one another; 0: all.
        repeats: the most things of one noun.
        tinted: share of the scenes in which things are tinted, so that captions name colours.
        side: of the images, in pixels.
        count: scenes to train on.
        held: scenes to tune on, and as many to report on.
        changes: of each held-out scene, the most pictures in which one thing is another, for composed queries.
        noise: share of the training captions that are wrong, more for some nouns than for others, up to 0.5.
        messy: whether the training captions are messy: many words for a noun, irrelevant words.
        irrelevant: share of irrelevant words in messy captions.
        text: the text tower: `transformer` or `bag`.
        image: the image tower: `vit`, `vit-mean` or `resnet`, see `deixis.zoo.scratch.build`.
        size: of the towers, one of `deixis.zoo.scratch.SIZES`.
        batch_size: pairs a step.
        stop: where in the budget training stops; schedules end there, too.
    """

    cast: str = "stamps"
    nouns: int = 0
    unseen: Literal["stamp", "pair"] = "stamp"
    objects: tuple[int, int] = (1, 3)
    held_objects: tuple[int, int] | None = None
    held_nouns: int = 0
    repeats: int = 1
    tinted: float = 1.0
    side: int = 48
    count: int = 4000
    held: int = 400
    changes: int = 0
    noise: float = 0.0
    messy: bool = False
    irrelevant: float = 0.4
    text: str = "transformer"
    image: str = "vit"
    size: str = "small"
    batch_size: int = 128
    stop: Literal["end", "half", "quarter"] = "end"


_SHARES = {"end": 1.0, "half": 0.5, "quarter": 0.25}


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; fewer scenes are the first of more.

    Args:
        options: see `Options`.
        seed: of the scenes and of what is drawn for their captions.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    _require(options)
    nouns = _nouns(options)
    train = _source(options, "train", seed, nouns)
    if options.noise:
        train = caption_noise.noisy(train, seed, options.noise)
    if options.messy:
        train = caption_noise.messy(train, seed, options.irrelevant)
    held = nouns[: options.held_nouns] if options.held_nouns else nouns
    validation, test = (_source(options, split, seed, held) for split in SPLITS[1:])
    texts = tuple(caption for sample in train.samples for caption in sample.captions)

    def encoder(number: int) -> DualEncoder:
        return scratch.build(texts, options.size, options.side, number, options.text, options.image)

    return TrainingTask(train, validation, test, encoder, options.batch_size, share=_SHARES[options.stop])


def _require(options: Options) -> None:
    """Refuses what would fail later, or go unseen."""
    for name, least in (("count", 2), ("held", 2), ("batch_size", 2), ("nouns", 0), ("held_nouns", 0)):
        if getattr(options, name) < least:
            raise DeixisError(f"{name} is {getattr(options, name)}.", f"It must be {least} or more.")
    if options.stop not in _SHARES:
        raise DeixisError(f"stop is {options.stop!r}.", f"It must be one of {', '.join(_SHARES)}.")
    if options.batch_size > options.count:
        raise DeixisError(
            f"A batch of {options.batch_size} is requested, and there are {options.count} scenes.",
            "Request smaller batches or more scenes.",
        )


def _nouns(options: Options) -> tuple[str, ...]:
    """Nouns that all splits hold, in an order that depends on the nouns alone."""
    cutouts = assemble(SceneConfig(cast=options.cast))
    sides = [set(part(cutouts, split, options.unseen)) for split in SPLITS]
    there = sides[0] & sides[1] & sides[2]
    wanted = max(options.nouns, options.held_nouns)
    if len(there) < max(2, wanted):
        raise DeixisError(
            f"{wanted or 2} nouns are requested, and of the cast {options.cast!r} only {len(there)} are in all splits.",
            "Request fewer nouns, or another cast: emoji/all has six drawings of each noun.",
        )
    ordered = sorted(there, key=lambda noun: (zlib.crc32(noun.encode()), noun))
    return tuple(ordered[: options.nouns or None])


def _source(options: Options, split: str, seed: int, nouns: tuple[str, ...]) -> Source:
    training = split == SPLITS[0]
    config = SceneConfig(
        cast=options.cast,
        unseen=options.unseen,
        nouns=nouns,
        objects=options.objects if training or options.held_objects is None else options.held_objects,
        repeats=options.repeats,
        tinted=options.tinted,
        phrases=0,
        questions=0,
        masks=not training,
        changes=0 if training else options.changes,
    )
    count = options.count if training else options.held
    return scenes(seed, count, split=split, side=options.side, config=config)
