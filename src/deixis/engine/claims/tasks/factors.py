"""Where claims about layers below a head meet: garments on textures, in pairs of views of which one may lack its own.

Both views show the same texture; with some probability one lacks the garment, and what they share is the texture
alone. Afterwards a linear classifier of garments is fitted on the frozen features of other pictures, all with their
garments: on those before the head and on those behind it, standardised both. Or labels are of four groups of garments,
and the ten kinds are asked for.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from deixis.data import catalogue
from deixis.data.synthetic.textured_pictures import TexturedPicture
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.ops.logistic import linear_layer
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod
from deixis.types.samples import Drawing
from deixis.zoo import fine_resnet

__all__ = ["GROUPS", "TASK", "Options", "make"]

TASK = TaskCard(
    title="Garments on textures, in pairs of views of which one may lack its garment: before and behind a head",
    metrics=("before", "behind", "gain"),
    passes=("deixis.nn.vision.fine_resnet",),
)

GROUPS = {
    "bags": ("bag",),
    "dresses": ("dress", "trousers"),
    "shoes": ("ankle boot", "sandal", "sneaker"),
    "tops": ("coat", "pullover", "shirt", "t-shirt"),
}
"""Garments by where they are worn."""

_PENALTY, _BATCH, _OUT = 1e-4, 500, 32


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `factors`.

    Attributes:
        dropped: how often one of the two views lacks the garment.
        labels: of the pictures that are trained on: `kinds` (ten) or `groups` (four).
        contrast: of textures, which garments cover; at 1 a tower learns little else.
        count: pictures to train on.
        probe: pictures that the linear classifier is fitted on.
        held: pictures to tune on, and as many to report on.
        channels: of the stem of the tower, a ResNet with a stride of 8.
        batch_size: pictures a step.
    """

    dropped: float = 0.3
    labels: Literal["kinds", "groups"] = "kinds"
    contrast: float = 0.4
    count: int = 16_000
    probe: int = 2_000
    held: int = 2_000
    channels: int = 8
    batch_size: int = 128


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of which garments and textures are where, and of what views draw.

    Raises:
        DeixisError: a value is out of range, or the set of garments is not in the cache.
    """
    require_least(options, count=2, probe=20, held=20, batch_size=2)
    if not 0 <= options.dropped <= 1 or options.labels not in ("kinds", "groups"):
        raise DeixisError(
            f"dropped is {options.dropped} and labels {options.labels!r}.",
            "Give a share from 0 to 1, and kinds or groups.",
        )
    rng = np.random.Generator(np.random.PCG64((seed, 7)))
    samples = list(catalogue.read("fashion/train").samples)
    order = [samples[i] for i in rng.permutation(len(samples))]
    ends = np.cumsum((options.count, options.probe, options.held)).tolist()
    lacks = np.where(rng.random(ends[0]) < options.dropped, rng.integers(2, size=ends[0]), -1).tolist()
    train = [_paired(each, n, options, seed, lacks[n]) for n, each in enumerate(order[: ends[0]])]
    probe = [_single(each, ends[0] + n, options, seed) for n, each in enumerate(order[ends[0] : ends[1]])]
    chosen = [_single(each, ends[1] + n, options, seed) for n, each in enumerate(order[ends[1] : ends[2]])]
    test = catalogue.read("fashion/test").samples
    places = rng.permutation(len(test))[: options.held]
    reported = [_single(test[i], ends[2] + n, options, seed) for n, i in enumerate(places)]
    places_of: dict[str, tuple[str, ...]] = {"before": ("",), "behind": ("post",), "gain": ("", "post")}
    measures = {name: _measure(probe, places_of[name]) for name in TASK.metrics}

    def encoder(number: int) -> ImageHalf:
        return fine_resnet.build(options.channels, _OUT, 28, number)

    learned, validation, report = (_source(part) for part in (train, chosen, reported))
    return TrainingTask(learned, validation, report, encoder, options.batch_size, measures=measures)


def _source(samples: Sequence[Sample]) -> Source:
    root = catalogue.read("fashion/test").root
    return Source("factors", root, "labels", "drawings", tuple(samples))


def _single(sample: Sample, number: int, options: Options, seed: int) -> Sample:
    """One view, with its garment; the label is the kind."""
    picture = _drawn(sample, number, options, seed, 0)
    return Sample(f"{sample.id} {seed}", picture, label=sample.label)


def _drawn(sample: Sample, number: int, options: Options, seed: int, which: int, shown: bool = True) -> TexturedPicture:
    view = 3 * (seed * 1_000_003 + number) + which
    thing = cast(Drawing, sample.picture)
    return TexturedPicture(thing, seed * 1_000_003 + number, view, options.contrast, shown)


def _paired(sample: Sample, number: int, options: Options, seed: int, missing: int) -> Sample:
    """Two views, of which the one numbered `missing`, if any, lacks the garment; the label is the kind, or its
    group."""
    views = tuple(_drawn(sample, number, options, seed, 1 + which, which != missing) for which in range(2))
    group = next(name for name, kinds in GROUPS.items() if sample.label in kinds)
    label = group if options.labels == "groups" else sample.label
    return Sample(f"{sample.id} {seed}", views[0], label=label, extra={"pair": views})


def _measure(probe: Sequence[Sample], places: tuple[str, ...]) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """Whether a linear classifier of the features of a place names each garment; of two places the difference."""

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        kinds = sorted({str(sample.label) for sample in probe})
        labels, asked = (
            torch.tensor([kinds.index(str(each.label)) for each in some]) for some in (probe, source.samples)
        )
        found = [_named(method, probe, labels, source.samples, place) == asked for place in places]
        return found[0].float() if len(found) == 1 else found[0].float() - found[1].float()

    return measured


def _named(
    method: AnyMethod, probe: Sequence[Sample], labels: Int64[Tensor, " P"], samples: Sequence[Sample], place: str
) -> Int64[Tensor, " Q"]:
    rows, held = (_features(method, some, place) for some in (probe, samples))
    mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-6)
    rows, held = ((each - mean) / deviation for each in (rows, held))
    weight, intercept = linear_layer(rows, labels, int(labels.max()) + 1, _PENALTY)
    return (torch.nn.functional.normalize(held, dim=1) @ weight.T + intercept).argmax(dim=1)


def _features(method: Any, samples: Sequence[Sample], place: str) -> Float[Tensor, "N D"]:
    preprocess = preprocess_of(method)
    if place and "at" not in inspect.signature(method.encode_image).parameters:
        raise DeixisError("The method has one place to read features at.", "Take one with a head.")
    where = {"at": place} if place else {}
    with eval_without_grad(method):
        blocks = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        rows = [method.encode_image(preprocess.read([each.picture for each in some]), **where) for some in blocks]
    return torch.cat(rows).double()
