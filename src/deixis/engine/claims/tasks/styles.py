"""Where claims about data that nobody chose meet: clothes, curated or not, and styles of them that no arm has seen.

Curated: plain pictures with labels, of each class equally many. Uncurated: the other pictures of the set, the classes
unequally frequent, in five styles, without labels, and among them pictures of other things. A linear classifier is
fitted on the features of the curated pictures and asked about pictures in four other styles. What uncurated pictures
hold is another thing than how many there are; the options tell both apart.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data import catalogue
from deixis.data.synthetic.picture_styles import SEEN, UNSEEN, StyledPicture
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.ops.logistic import linear_layer
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersEncodeImage
from deixis.zoo import fine_resnet

__all__ = ["TASK", "Options", "first_of_each", "make"]

TASK = TaskCard(
    title="Clothes, curated or not: labels of plain pictures, asked for in styles that were never seen",
    metrics=("unseen_styles", "worst_style", "seen_styles", "plain"),
    passes=("deixis.nn.vision.fine_resnet",),
)

_OTHERS = ("stamps", "emoji")
_PENALTY = 1e-4
_OUT = 32
_BATCH = 500


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `styles`.

    Attributes:
        pictures: what is trained on: `curated` or `uncurated`.
        count: uncurated pictures.
        curated: plain pictures with labels.
        exposed: whether the uncurated pictures come in the styles of the test, too.
        others: share of the uncurated pictures that are of other things.
        tail: the frequency of the k-th class falls as k ** -tail.
        held: pictures to tune on, and as many to report on.
        side: of the pictures, in pixels.
        channels: of the stem of the tower, a ResNet with a stride of 8.
        batch_size: pictures a step.
    """

    pictures: Literal["curated", "uncurated"] = "uncurated"
    count: int = 55_000
    curated: int = 5_000
    exposed: bool = False
    others: float = 0.125
    tail: float = 0.7
    held: int = 2_000
    side: int = 28
    channels: int = 8
    batch_size: int = 128


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; the curated pictures and those held out hang on the seed alone.

    Args:
        options: see `Options`.
        seed: of which pictures are where, and of what their styles draw.

    Raises:
        DeixisError: a value is out of range, or a set is not in the cache.
    """
    _require(options)
    rng = np.random.Generator(np.random.PCG64(seed))
    samples = list(catalogue.read("fashion/train").samples)
    order = [samples[i] for i in rng.permutation(len(samples))]
    curated, rest = _curated(order, options, seed)
    validation, pool = rest[: options.held], rest[options.held :]
    test = catalogue.read("fashion/test").samples
    report = [test[i] for i in rng.permutation(len(test))[: options.held]]
    photos = [each.image for each in catalogue.read("photos").samples if each.extra["what"] == "photographs"]
    train = curated if options.pictures == "curated" else _uncurated(pool, options, seed, photos)
    measures = {name: _measure(curated, name) for name in TASK.metrics}

    def encoder(number: int) -> ImageHalf:
        return fine_resnet.build(options.channels, _OUT, options.side, number)

    chosen, reported = (_source(_held(part, options, seed, photos)) for part in (validation, report))
    return TrainingTask(_source(train), chosen, reported, encoder, options.batch_size, measures=measures)


def _require(options: Options) -> None:
    require_least(options, count=2, curated=20, held=20, batch_size=2)
    if options.pictures not in ("curated", "uncurated"):  # a claim's options are not checked by their types
        raise DeixisError(f"pictures is {options.pictures!r}.", "It is curated or uncurated.")
    if not 0 <= options.others < 1:
        raise DeixisError(f"others is {options.others}.", "It is a share below 1.")


def _source(samples: Sequence[Sample]) -> Source:
    root = catalogue.read("fashion/test").root
    return Source("styles", root, "labels", "drawings", tuple(samples))


def _styled(sample: Sample, style: str, options: Options, seed: int, photo: Any = None) -> Sample:
    picture = StyledPicture(sample.picture, style, seed, options.side, photo)
    return dataclasses.replace(
        sample, id=f"{sample.id} {style} {seed}", image=picture, split="", extra={"style": style}
    )


def _curated(order: Sequence[Sample], options: Options, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Plain pictures, equally many of each class, and those that are left."""
    taken, rest = first_of_each(order, options.curated // len({str(sample.label) for sample in order}))
    return [_styled(sample, "plain", options, seed) for sample in taken], rest


def first_of_each(order: Sequence[Sample], count: int) -> tuple[list[Sample], list[Sample]]:
    """The first pictures of each class, and the others, in order.

    Args:
        order: labelled.
        count: of each class at the most.
    """
    left = {str(sample.label): count for sample in order}
    taken, rest = list[Sample](), list[Sample]()
    for sample in order:
        chosen = left[str(sample.label)] > 0
        left[str(sample.label)] -= chosen
        (taken if chosen else rest).append(sample)
    return taken, rest


def _uncurated(pool: Sequence[Sample], options: Options, seed: int, photos: Sequence[Any]) -> list[Sample]:
    """Pictures drawn class by class, some of other things, each in a style of its own; labels are taken away."""
    rng = np.random.Generator(np.random.PCG64((seed, 1)))
    labels = sorted({str(sample.label) for sample in pool})
    members = {label: [sample for sample in pool if sample.label == label] for label in labels}
    weights = (np.arange(len(labels)) + 1.0) ** -options.tail
    drawn = rng.choice(len(labels), options.count, p=weights / weights.sum())
    others = [sample for name in _OTHERS for sample in catalogue.read(name).samples] if options.others else []
    styles = (*SEEN, *UNSEEN) if options.exposed else SEEN
    found = []
    for number, place in enumerate(rng.permutation(len(labels))[drawn]):
        own = members[labels[place]] if rng.random() >= options.others else others
        sample = own[int(rng.integers(len(own)))]
        photo = photos[int(rng.integers(len(photos)))]
        styled = _styled(sample, styles[int(rng.integers(len(styles)))], options, seed, photo)
        found.append(Sample(f"{number} {styled.id}", styled.image, extra=styled.extra))
    return found


def _held(part: Sequence[Sample], options: Options, seed: int, photos: Sequence[Any]) -> list[Sample]:
    """Each picture in one unseen style, in one seen one, and plain."""
    found = []
    for number, sample in enumerate(part):
        for style in (UNSEEN[number % len(UNSEEN)], SEEN[1:][number % (len(SEEN) - 1)], SEEN[0]):
            found.append(_styled(sample, style, options, seed, photos[number % len(photos)]))
    return found


def _measure(curated: Sequence[Sample], name: str) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """Accuracy of a linear classifier on the curated pictures, one value a picture in the styles that are measured."""

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        groups = {"unseen_styles": UNSEEN, "worst_style": UNSEEN, "seen_styles": SEEN[1:], "plain": SEEN[:1]}
        samples = [sample for sample in source.samples if sample.extra["style"] in groups[name]]
        labels = sorted({str(sample.label) for sample in curated})
        numbers = [torch.tensor([labels.index(str(each.label)) for each in some]) for some in (curated, samples)]
        features, asked = (_features(method, some) for some in (curated, samples))
        weight, intercept = linear_layer(features, numbers[0], len(labels), _PENALTY)
        right = ((asked @ weight.T + intercept).argmax(dim=1) == numbers[1]).float()
        if name != "worst_style":
            return right
        styles = [sample.extra["style"] for sample in samples]
        by_style = [right[[each == style for each in styles]] for style in UNSEEN]
        return min(by_style, key=lambda values: float(values.mean()))

    return measured


def _features(method: AnyMethod, samples: Sequence[Sample]) -> Float[Tensor, "N D"]:
    preprocess = preprocess_of(method)
    with eval_without_grad(method):
        if not offers(method, OffersEncodeImage):
            raise DeixisError("The method gives no features of images.", "Measure something else of it.")
        blocks = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        found = [method.encode_image(preprocess.read([sample.picture for sample in some])) for some in blocks]
    return torch.cat(found).double()
