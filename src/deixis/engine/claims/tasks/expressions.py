"""Where claims about grounding meet: scenes with referring expressions, to be found among a detector's boxes."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deixis import zoo
from deixis.data.grounding import merge_sentences, referring
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.columns import WithColumns
from deixis.engine.training.batching import collate_for
from deixis.engine.training.stages import name_of, stages
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.regions.boxes import iou
from deixis.types import Batch, Sample, Source
from deixis.types.batch import concatenate
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, HasGroundBatch

__all__ = ["TASK", "Options", "found", "make"]

TASK = TaskCard(
    title="Generated scenes with referring expressions: learned on some stamps, measured on others",
    metrics=("relation", "comparison", "unary", "referring", "recall_at_1"),
)

_HELD_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `expressions`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`.
        nouns: only these, which all splits must hold; by default those with two drawings or more to learn from.
        objects: the fewest and the most things in a scene.
        repeats: the most things of one noun.
        tinted: share of the scenes in which things are tinted.
        phrases: the most expressions of a thing.
        align: which words mean the box, `noun` or `phrase`, see `deixis.data.grounding.referring`.
        merged: whether the expressions of a picture are merged into few captions.
        side: of the images, in pixels.
        count: scenes to train on.
        held: scenes to tune on, and as many to report on.
        model: whose image tower is read: a dual encoder, by name.
        batch_size: expressions a step.
    """

    cast: str = "stamps"
    nouns: tuple[str, ...] = ("truck", "hat", "flower", "car", "rocket", "guitar", "tree", "shirt")
    objects: tuple[int, int] = (3, 5)
    repeats: int = 3
    tinted: float = 1.0
    phrases: int = 3
    align: Literal["noun", "phrase"] = "phrase"
    merged: bool = False
    side: int = 160
    count: int = 600
    held: int = 150
    model: str = "starter"
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task: each expression is a sample, and those of one picture share what frozen parts make of it.

    Args:
        options: see `Options`.
        seed: of the scenes.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, count=2, held=2, batch_size=2, phrases=1)
    train, validation, test = (_source(options, split, seed) for split in SPLITS)

    def encoder(number: int) -> DualEncoder:
        return zoo.load(options.model)

    return TrainingTask(train, validation, test, encoder, options.batch_size, measures=_MEASURES)


def _source(options: Options, split: str, seed: int) -> Source:
    config = SceneConfig(
        cast=options.cast,
        nouns=options.nouns,
        objects=options.objects,
        repeats=options.repeats,
        tinted=options.tinted,
        phrases=options.phrases,
        questions=0,
        masks=False,
    )
    count = options.count if split == SPLITS[0] else options.held
    told = referring(scenes(seed, count, split=split, side=options.side, config=config), options.align)
    return merge_sentences(told) if options.merged else told


def found(method: AnyMethod, source: Source, family: str = "", rivals: bool = False) -> Float[Tensor, " Q"]:
    """Whether the best box of each expression has an IoU of 0.5 or more with the thing that is meant.

    Args:
        method: that finds phrases from the fields of a batch.
        source: samples of one expression each.
        family: of the expressions that are asked; empty: all.
        rivals: whether only those are asked whose noun has several things.

    Raises:
        DeixisError: there is no such expression, or the method can't do it.
    """
    wanted = [each for each in source.samples if _is_asked(each, family, rivals)]
    return _hits(method, dataclasses.replace(source, samples=tuple(wanted)), sentence=True)


def _is_asked(sample: Sample, family: str, rivals: bool) -> bool:
    return (not family or sample.extra["family"] == family) and (not rivals or sample.extra["rivals"] > 0)


def _phrases_found(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """The same for each phrase of captions that may hold several, by the tokens that mean it."""
    return _hits(method, source, sentence=False)


def _hits(method: AnyMethod, source: Source, sentence: bool) -> Float[Tensor, " Q"]:
    if not isinstance(method, HasGroundBatch):
        raise DeixisError(f"{name_of(method)} finds no phrases from columns.", "Measure something else of it.")
    if not source.samples:
        raise DeixisError(f"{source.name!r} has no expression of this family.", "Give more scenes.")
    encode = collate_for(method, source, stages(method)[0])
    if isinstance(encode, WithColumns):
        encode.make(source)
    hits = []
    with eval_without_grad(method):
        for start in range(0, len(source.samples), _HELD_BATCH):
            batch = concatenate([encode(each) for each in source.samples[start : start + _HELD_BATCH]])
            hits.append(_batch_hits(method, batch, sentence))
    return torch.cat(hits)


def _batch_hits(method: HasGroundBatch, batch: Batch, sentence: bool) -> Float[Tensor, " Q"]:
    assert batch.boxes is not None
    best = method.ground_batch(batch, sentence=sentence).best()[0][:, :, 0]
    return (iou(best, batch.boxes) >= 0.5)[batch.valid["T"]].double()


_MEASURES: dict[str, Callable[[AnyMethod, Source], Tensor]] = {
    "relation": functools.partial(found, family="relation", rivals=True),
    "comparison": functools.partial(found, family="comparison"),
    "unary": functools.partial(found, family="unary"),
    "referring": found,
    "recall_at_1": _phrases_found,
}
