"""Where claims about context meet: scenes with referring expressions, of which one of several regions is meant.

Half of the scenes have expressions of all families, and half those of the family `existential`, whose context depends
on the candidate. Candidates are the true boxes, each with a noisy code of what it shows (noun, colour and size), so
that choosing is measured and not seeing; or a detector's regions, with what the detector says of them.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from deixis import zoo
from deixis.data.grounding import referring
from deixis.data.synthetic.existential import FAMILY, existential, with_needed
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.config import COLOURS, SIZES
from deixis.data.synthetic.scenes.object_bank import SPLITS, assemble
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.columns import WithColumns
from deixis.engine.training.batching import collate_for
from deixis.engine.training.stages import name_of, stages
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.regions.boxes import iou
from deixis.types import Region, Sample, Source
from deixis.types.batch import concatenate
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, HasGroundBatch

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Generated scenes with expressions that need a context: one of several regions is meant",
    metrics=("context", "needed", "existential", "unary", "referring", "noun_alone", "chance"),
)

_HELD_BATCH = 128
_SHARP = 5.0
"""How sharply a noisy code of nouns tells what a region is."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `candidates`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`.
        nouns: only these; by default all of the cast.
        candidates: `own`: the boxes of the scene, each with a noisy code; or `proposals`, those of the method's part.
        noise: deviation of the noise on each number of a code, which is 0 or 1.
        objects: the fewest and the most things in a scene that is not existential.
        side: of the images, in pixels.
        count: scenes to train on, half of them existential.
        held: scenes to tune on, and as many to report on.
        batch_size: expressions a step.
    """

    cast: str = "shapes"
    nouns: tuple[str, ...] = ()
    candidates: Literal["own", "proposals"] = "own"
    noise: float = 0.4
    objects: tuple[int, int] = (4, 6)
    side: int = 160
    count: int = 3000
    held: int = 600
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task: each expression is a sample, its candidates are the regions of its picture.

    Args:
        options: see `Options`.
        seed: of the scenes and of the noise.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, count=2, held=2, batch_size=2, noise=0)
    train, validation, test = (_source(options, split, seed) for split in SPLITS)

    def encoder(number: int) -> DualEncoder:
        return zoo.load("tiny", seed=number)  # no arm is built on one

    return TrainingTask(train, validation, test, encoder, options.batch_size, measures=_MEASURES)


def _source(options: Options, split: str, seed: int) -> Source:
    config = SceneConfig(
        cast=options.cast,
        nouns=options.nouns,
        objects=options.objects,
        repeats=3,
        tinted=1.0,
        questions=0,
        masks=False,
    )
    count = options.count if split == SPLITS[0] else options.held
    plain = scenes(seed, count - count // 2, split=split, side=options.side, config=config)
    both = (plain, existential(seed, count // 2, split=split, side=options.side, config=config))
    found = [sample for source in both for sample in _expressions(with_needed(source))]
    nouns = tuple(sorted({cutout.noun for cutout in assemble(config)}))
    if options.candidates == "own":
        code = functools.partial(_code, nouns=nouns, noise=options.noise, seed=seed)
        found = [_with_codes(sample, code) for sample in found]
    return dataclasses.replace(plain, name="candidates", samples=tuple(found))


def _expressions(source: Source) -> list[Sample]:
    """A sample for each expression, which tells whether its relation is needed."""
    needed = {
        f"{sample.id}#{number}.{place}": so
        for sample in source.samples
        for number, region in enumerate(sample.regions)
        for place, so in enumerate(region.attributes["needed"])
    }
    told = referring(source, "phrase", among="all").samples
    return [dataclasses.replace(each, extra={**each.extra, "needed": needed[each.id]}) for each in told]


def _with_codes(sample: Sample, code: Callable[[Sample, int], Float32[np.ndarray, " F"]]) -> Sample:
    codes = np.stack([code(sample, number) for number in range(len(sample.regions))])
    nouns = codes[:, : codes.shape[1] - len(COLOURS) - len(SIZES)]
    likely = np.exp(_SHARP * (nouns - nouns.max(axis=1, keepdims=True)))
    columns = {
        "region_boxes": tuple(region.box for region in sample.regions),
        "region_features": codes,
        "region_classes": likely / likely.sum(axis=1, keepdims=True),
    }
    return dataclasses.replace(sample, extra={**sample.extra, **columns})


def _code(sample: Sample, number: int, nouns: Sequence[str], noise: float, seed: int) -> Float32[np.ndarray, " F"]:
    """Noun, colour and size of a region, and noise that hangs on its picture, not on the expression."""
    region = sample.regions[number]
    said = (region.category, str(region.attributes["colour"]), str(region.attributes["size"]))
    exact = [float(each == word) for word, known in zip(said, (nouns, COLOURS, SIZES), strict=True) for each in known]
    picture = zlib.crc32(sample.id.partition("#")[0].encode())
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, picture, number))))
    return (np.array(exact) + noise * rng.standard_normal(len(exact))).astype(np.float32)


# --- measures ---------------------------------------------------------------------------------------------------------


def _asked(source: Source, family: str) -> list[Sample]:
    """The expressions of a family, of relations only those that are needed."""
    samples = [
        sample
        for sample in source.samples
        if family in ("", sample.extra["family"]) and (family != "relation" or sample.extra["needed"])
    ]
    if not samples:
        raise DeixisError(f"{source.name!r} has no expression of this family.", "Give more scenes.")
    return samples


def _found(method: AnyMethod, source: Source, family: str = "") -> Float[Tensor, " Q"]:
    """Whether the best candidate of each expression has an IoU of 0.5 or more with what is meant."""
    samples = _asked(source, family)
    if not isinstance(method, HasGroundBatch):
        raise DeixisError(f"{name_of(method)} finds no phrases from columns.", "Measure something else of it.")
    encode = collate_for(method, dataclasses.replace(source, samples=tuple(samples)), stages(method)[0])
    if isinstance(encode, WithColumns):
        encode.make(source)
    hits = []
    with eval_without_grad(method):
        for start in range(0, len(samples), _HELD_BATCH):
            some = samples[start : start + _HELD_BATCH]
            output = method.ground_batch(concatenate([encode(each) for each in some]), sentence=True)
            meant = torch.tensor([sample.extra["targets"][0] for sample in some])
            hits.append(iou(output.best()[0][:, 0, 0], meant) >= 0.5)
    return torch.cat(hits).double()


def _context(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Needed relations and existential expressions, as many of each: the mean is that of both."""
    both = [_found(method, source, family) for family in ("relation", FAMILY)]
    fewest = min(map(len, both))
    return torch.cat([each[:fewest] for each in both])


def _by_rule(source: Source, chance: Callable[[Sample], float]) -> Float[Tensor, " Q"]:
    """The same without a method: how likely a rule is right."""
    both = [[chance(sample) for sample in _asked(source, family)] for family in ("relation", FAMILY)]
    fewest = min(map(len, both))
    return torch.tensor([value for each in both for value in each[:fewest]], dtype=torch.float64)


def _noun_alone(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Who knows what each region shows and draws among those of the noun that comes first."""

    def chance(sample: Sample) -> float:
        same = [region for region in sample.regions if region.category == _first_noun(sample)]
        return float(_is_meant(sample, same)) / max(1, len(same))

    return _by_rule(source, chance)


def _first_noun(sample: Sample) -> str:
    """The noun that stands first in the expression."""
    text = sample.captions[0]
    places = {
        region.category: match.start()
        for region in sample.regions
        if (match := re.search(rf"\b{re.escape(region.category)}\b", text))
    }
    return min(places, key=lambda noun: places[noun], default="")


def _is_meant(sample: Sample, regions: Sequence[Region]) -> bool:
    return any(region.box == tuple(sample.extra["targets"][0]) for region in regions)


def _chance(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """Who draws among all regions of the scene."""
    return _by_rule(source, lambda sample: 1 / len(sample.regions))


_MEASURES: dict[str, Callable[[Any, Source], Tensor]] = {
    "context": _context,
    "needed": functools.partial(_found, family="relation"),
    FAMILY: functools.partial(_found, family=FAMILY),
    "unary": functools.partial(_found, family="unary"),
    "referring": _found,
    "noun_alone": _noun_alone,
    "chance": _chance,
}
