"""Where claims about words and regions meet: scenes whose captions name all things, learned on some stamps, measured on
others."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deixis import zoo
from deixis.data.grounding import referring
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.columns import WithColumns
from deixis.engine.training.batching import collate_for, needs_of
from deixis.engine.training.stages import name_of, stages
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.pairs.proximal_transport import ipot, uniform_plan
from deixis.ops.regions.boxes import pairwise_iou
from deixis.ops.spans import span_mask
from deixis.types import Batch, FieldSpec, Sample, Source, Stage
from deixis.types.batch import CORE_FIELDS, concatenate
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, HasTellWords, OffersAlign, OffersMatch, OffersRefer

__all__ = ["TASK", "Options", "aligned", "hidden_told", "make", "matched", "nouns_alone", "plan_sharpness", "referred"]

TASK = TaskCard(
    title="Scenes whose captions name all things: learned on some stamps, measured on others",
    metrics=("alignment", "matching", "referring", "hidden_words", "hidden_nouns", "hidden_colours", "plan_sharpness"),
)

_HELD_BATCH = 64
_RIGHT = 0.5
_SPANS = FieldSpec("word_spans", "B Q S 2", "long", ragged="Q")
_TOLD = ("noun", "colour")


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `word_regions`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`.
        nouns: of the things; kinds that the detector knows.
        objects: the fewest and the most things in a scene.
        said: by captions: what they say of a `scene` (sizes, colours, places, its background), or the `nouns` alone.
        learn: from `captions` of scenes, or from `phrases` alone.
        labels: expressions, each with its box, that a stage draws from which learns which region is meant.
        side: of the images, in pixels.
        count: scenes to train on.
        held: scenes to tune on, and as many to report on.
        batch_size: captions or expressions a step.
    """

    cast: str = "stamps"
    nouns: tuple[str, ...] = ("truck", "orange", "zebra", "car", "bus", "airplane", "bear", "banana")
    objects: tuple[int, int] = (2, 3)
    said: Literal["scene", "nouns"] = "scene"
    learn: Literal["captions", "phrases"] = "captions"
    labels: int = 300
    side: int = 160
    count: int = 1000
    held: int = 150
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the scenes.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, count=2, held=2, batch_size=2, labels=2)
    train, validation, test = (_source(options, split, seed) for split in SPLITS)
    phrases = referring(train, among="all")
    labelled = dataclasses.replace(phrases, samples=phrases.samples[: options.labels])

    def encoder(number: int) -> DualEncoder:
        return zoo.load("tiny")

    return TrainingTask(
        labelled if options.learn == "phrases" else train,
        validation,
        test,
        encoder,
        options.batch_size,
        sources={"phrases": labelled},
        measures=_MEASURES,
    )


def _source(options: Options, split: str, seed: int) -> Source:
    config = SceneConfig(
        cast=options.cast,
        nouns=options.nouns,
        objects=options.objects,
        repeats=1,
        tinted=1.0,
        named=options.objects[1],
        phrases=2,
        questions=0,
        masks=False,
    )
    count = options.count if split == SPLITS[0] else options.held
    source = scenes(seed, count, split=split, side=options.side, config=config)
    if options.said == "scene":
        return source
    return dataclasses.replace(source, samples=tuple(map(nouns_alone, source.samples)))


def nouns_alone(sample: Sample) -> Sample:
    """A scene whose caption lists the nouns of its things, such as `truck, zebra`, and says nothing else of it.

    Args:
        sample: with regions of which each has a noun.
    """
    text, regions = "", []
    for region in sample.regions:
        text += ", " * bool(text)
        regions.append(dataclasses.replace(region, spans=((len(text), len(text) + len(region.category)),)))
        text += region.category
    return dataclasses.replace(sample, captions=(text,), regions=tuple(regions))


def _batches(method: AnyMethod, source: Source, *more: FieldSpec) -> Iterator[Batch]:
    """Texts and regions of held-out samples, and further fields."""
    fields = {spec.name: spec for stage in stages(method) for spec in needs_of(method, stage)}
    made = (spec for spec in fields.values() if spec.made is not None)
    encode = collate_for(method, source, Stage(needs=(CORE_FIELDS["tokens"], *made, *more)))
    if isinstance(encode, WithColumns):
        encode.make(source)
    with eval_without_grad(method):
        for start in range(0, len(source.samples), _HELD_BATCH):
            yield concatenate([encode(each) for each in source.samples[start : start + _HELD_BATCH]])


def _unable(method: AnyMethod, what: str) -> DeixisError:
    return DeixisError(f"{name_of(method)} does not {what}.", "Measure something else of it.")


def aligned(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Whether the region that the words for a thing mean most is that thing, by the mean over their tokens.

    Args:
        method: that aligns words with regions.
        source: samples whose regions have spans.

    Raises:
        DeixisError: the method can't do it.
    """
    if not isinstance(method, OffersAlign):
        raise _unable(method, "join words with regions")
    spoken = [each for each in source.samples if any(region.spans for region in each.regions)]
    targets = FieldSpec("targets", "B Q 4", ragged="Q", values="boxes")
    found = []
    spelled = dataclasses.replace(source, samples=tuple(_spelled(method, spoken)))
    for batch in _batches(method, spelled, targets, _SPANS):
        scores = method.align(batch)
        assert batch.boxes is not None
        own = span_mask(batch.extra["word_spans"], scores.shape[1]).to(scores)  # [B, Q, L]
        words = own @ scores / own.sum(-1, keepdim=True).clamp(min=1)
        least = torch.finfo(words.dtype).min
        best = words.masked_fill(~batch.valid["T"][:, None], least).argmax(-1)
        right = pairwise_iou(batch.extra["targets"], batch.boxes) >= _RIGHT
        counted = batch.valid["Q"] & own.any(-1)
        found.append(right.gather(2, best[..., None])[..., 0][counted].double())
    return torch.cat(found)


def _spelled(method: AnyMethod, samples: Sequence[Sample]) -> Iterator[Sample]:
    """The samples with the tokens of the words for each region, as a column of one span each."""
    source = Source("", Path(), "captions", "", tuple(samples))
    encode = collate_for(method, source, Stage(needs=(CORE_FIELDS["tokens"], CORE_FIELDS["spans"])))
    for sample in samples:
        spans = encode(sample).spans
        assert spans is not None
        yield dataclasses.replace(sample, extra={**sample.extra, "word_spans": spans[0].tolist()})


def matched(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Whether a caption fits its own scene better than the next one with other nouns; one value a scene.

    Args:
        method: that scores pairs.
        source: samples with captions.

    Raises:
        DeixisError: the method can't do it.
    """
    if not isinstance(method, OffersMatch):
        raise _unable(method, "score pairs")
    samples = source.samples
    others = []
    for number, sample in enumerate(samples):
        own = {region.category for region in sample.regions}
        rest = [*samples[number + 1 :], *samples[:number]]
        other = next((each for each in rest if {region.category for region in each.regions} != own), None)
        others.append(None if other is None else dataclasses.replace(other, captions=sample.captions))
    kept = [number for number, other in enumerate(others) if other is not None]
    pairs = [samples[number] for number in kept], [other for other in others if other is not None]
    scores = [
        torch.cat([method.match(b) for b in _batches(method, dataclasses.replace(source, samples=tuple(each)))])
        for each in pairs
    ]
    return (scores[0] > scores[1]).double()


def referred(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Whether the region that an expression is found to mean is the one it means; none that is right counts as missed.

    Args:
        method: that chooses among regions.
        source: samples whose regions have phrases.

    Raises:
        DeixisError: the method can't do it.
    """
    if not isinstance(method, OffersRefer):
        raise _unable(method, "choose among regions")
    targets, found = FieldSpec("targets", "B Q 4", ragged="Q", values="boxes"), []
    for batch in _batches(method, referring(source, among="all"), targets):
        assert batch.boxes is not None
        best = method.refer(batch).argmax(1)
        right = (pairwise_iou(batch.boxes, batch.extra["targets"]) >= _RIGHT) & batch.valid["Q"][:, None]
        found.append(right.any(-1).gather(1, best[:, None])[:, 0].double())
    return torch.cat(found)


def hidden_told(method: AnyMethod, source: Source, kinds: Collection[str] = _TOLD) -> Float[Tensor, " Q"]:
    """Whether a hidden word is told, all other words of the caption and all regions being there; one value a word.

    Args:
        method: that tells hidden words.
        source: samples whose regions have spans.
        kinds: of the words that are hidden, one at a time: `noun`, `colour`.

    Raises:
        DeixisError: the method can't do it.
    """
    if not isinstance(method, HasTellWords):
        raise _unable(method, "tell hidden words")
    gaps = [gap for sample in source.samples for gap in _gaps(sample, kinds)]
    found = []
    for batch in _batches(method, dataclasses.replace(source, samples=tuple(_spelled(method, gaps))), _SPANS):
        tokens, _ = batch.caption()
        hidden = span_mask(batch.extra["word_spans"], tokens.shape[1]).any(1)
        right = method.tell_words(batch, hidden) == tokens
        found.append(right.all(-1)[hidden.any(-1)].double())  # a caption may be cut off before the word
    return torch.cat(found)


def _gaps(sample: Sample, kinds: Collection[str]) -> Iterator[Sample]:
    """The sample once for each noun and colour of its caption, in which that word is the only one with a span."""
    for number, region in enumerate(sample.regions):
        for kind, word in zip(_TOLD, (region.category, region.attributes["colour"]), strict=True):
            places = [
                (start + match.start(), start + match.end())
                for start, stop in region.spans
                for match in re.finditer(rf"\b{re.escape(word or '')}\b", sample.captions[0][start:stop])
            ]
            if kind in kinds and word and places:
                bare = [dataclasses.replace(each, spans=()) for each in sample.regions]
                bare[number] = dataclasses.replace(region, spans=tuple(places))
                yield dataclasses.replace(sample, id=f"{sample.id}#{number}.{kind}", regions=tuple(bare))


def plan_sharpness(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """How far from uniform the plan is by which words are best carried to regions, by how they align: 1 less its
    entropy in shares of that of the uniform plan. 0: uniform; n words each of which goes to one of m regions leave
    log n / (log n + log m) of it. One value a scene.

    Args:
        method: that aligns words with regions.
        source: samples with captions.

    Raises:
        DeixisError: the method can't do it.
    """
    if not isinstance(method, OffersAlign):
        raise _unable(method, "join words with regions")
    found = []
    for batch in _batches(method, source):
        words, regions = batch.caption()[1], batch.valid["T"]
        plans = (ipot(1 - method.align(batch), words, regions), uniform_plan(words, regions))
        entropy, most = (-torch.special.xlogy(each, each).sum((1, 2)) for each in plans)
        found.append(torch.where(most > 0, 1 - entropy / most, 0.0).double())
    return torch.cat(found)


_MEASURES: Mapping[str, Callable[[AnyMethod, Source], Tensor]] = {
    "alignment": aligned,
    "matching": matched,
    "referring": referred,
    "hidden_words": hidden_told,
    "hidden_nouns": functools.partial(hidden_told, kinds=_TOLD[:1]),
    "hidden_colours": functools.partial(hidden_told, kinds=_TOLD[1:]),
    "plan_sharpness": plan_sharpness,
}
