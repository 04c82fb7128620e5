"""Where claims about captions beside labels meet: emoji in six styles, named by their group, of things never seen.

Labels are the groups of Unicode's charts, such as animals or food; the caption of a picture is its name and its tags.
Things are divided, not pictures, so that no style of a thing that is asked for was seen. The texts may be taken away in
steps: the class name, captions exchanged within the class, a text for each class that means nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.data import catalogue
from deixis.data.splits import concept_groups
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.errors import DeixisError
from deixis.nn.encoders import ImageHalf
from deixis.ops.logistic import linear_layer
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod
from deixis.zoo import fine_resnet

__all__ = ["TASK", "TEXTS", "Options", "make"]

TASK = TaskCard(
    title="Emoji in six styles: the group of things that were never seen, learned with captions beside the labels",
    metrics=("accuracy", "subgroup"),
    passes=("deixis.nn.vision.fine_resnet",),
)

TEXTS = ("captions", "class name", "exchanged", "random")
"""What stands beside the labels."""

_SET, _OUT, _BATCH, _PENALTY, _LETTERS = "emoji-styles", 32, 250, 1e-4, 12


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `captioned`.

    Attributes:
        text: one of `TEXTS`.
        share: of the things of the training part that are there.
        side: of the pictures, in pixels.
        channels: of the stem of the tower, a ResNet with a stride of 8.
        held: share of the things that is for tuning, and the same share for reporting.
        batch_size: pictures a step.
    """

    text: Literal["captions", "class name", "exchanged", "random"] = "captions"
    share: float = 1.0
    side: int = 48
    channels: int = 8
    held: float = 0.2
    batch_size: int = 128


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; the division of things hangs on the seed alone.

    Args:
        options: see `Options`.
        seed: of the division, and of what texts are exchanged or random.

    Raises:
        DeixisError: a value is out of range, or the set is not in the cache.
    """
    _require(options)
    source = catalogue.read(_SET)
    samples = [_labelled(sample) for sample in source.samples]
    things = np.array(concept_groups(samples))
    rng = np.random.Generator(np.random.PCG64((seed, 3)))
    order = rng.permutation(np.unique(things))
    held = max(1, round(options.held * len(order)))
    parts = (order[2 * held :], order[:held], order[held : 2 * held])
    kept = parts[0][: max(2, round(options.share * len(parts[0])))]
    train, validation, test = (
        [sample for sample, thing in zip(samples, things, strict=True) if thing in set(part.tolist())]
        for part in (kept, *parts[1:])
    )
    worded = _TEXTS[options.text](train, np.random.Generator(np.random.PCG64((seed, 4))))

    def encoder(number: int) -> ImageHalf:
        return fine_resnet.build(options.channels, _OUT, options.side, number)

    learned, chosen, reported = (
        dataclasses.replace(source, kind="labels", samples=tuple(part)) for part in (worded, validation, test)
    )
    measures = {"accuracy": _accuracy, "subgroup": _subgroup(worded)}
    return TrainingTask(learned, chosen, reported, encoder, options.batch_size, measures=measures)


def _require(options: Options) -> None:
    require_least(options, side=8, channels=1, batch_size=2)
    if options.text not in TEXTS or not 0 < options.share <= 1 or not 0 < options.held < 0.5:
        raise DeixisError(
            f"text is {options.text!r}, share {options.share} and held {options.held}.",
            f"text is one of {', '.join(TEXTS)}; share is above 0 and at most 1, held below a half.",
        )


def _labelled(sample: Sample) -> Sample:
    """The group as label, name and tags as caption."""
    words = ", ".join(dict.fromkeys((*sample.captions, *map(str, sample.extra.get("tags", ())))))
    return dataclasses.replace(sample, label=str(sample.extra["group"]), captions=(words,), split="")


def _class_names(samples: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
    return [dataclasses.replace(each, captions=(str(each.label),)) for each in samples]


def _exchanged(samples: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
    """Each picture has the caption of another one of its class."""
    found = list(samples)
    for label in sorted({str(each.label) for each in samples}):
        own = [i for i, each in enumerate(samples) if each.label == label]
        for place, other in zip(own, rng.permutation(own).tolist(), strict=True):
            found[place] = dataclasses.replace(samples[place], captions=samples[other].captions)
    return found


def _random(samples: Sequence[Sample], rng: np.random.Generator) -> list[Sample]:
    """One meaningless word for each class."""
    words = {
        label: "".join(chr(ord("a") + letter) for letter in rng.integers(0, 26, _LETTERS))
        for label in sorted({str(each.label) for each in samples})
    }
    return [dataclasses.replace(each, captions=(words[str(each.label)],)) for each in samples]


_TEXTS: Mapping[str, Callable[[Sequence[Sample], np.random.Generator], list[Sample]]] = {
    "captions": lambda samples, rng: list(samples),
    "class name": _class_names,
    "exchanged": _exchanged,
    "random": _random,
}


def _accuracy(method: Any, source: Source) -> Float[Tensor, " Q"]:
    """Whether the group of each picture is named."""
    wanted = torch.tensor([method.names.index(str(each.label)) for each in source.samples])
    return (_blocks(method, source.samples, method.classify).argmax(dim=1) == wanted).float()


def _subgroup(train: Sequence[Sample]) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """Whether a linear classifier of frozen features, fitted on the training part, names the subgroup of each picture,
    of those that were there to learn from."""

    def measured(method: Any, source: Source) -> Float[Tensor, " Q"]:
        kinds = sorted({str(each.extra["subgroup"]) for each in train})
        samples = [each for each in source.samples if str(each.extra["subgroup"]) in kinds]
        labels, wanted = (
            torch.tensor([kinds.index(str(each.extra["subgroup"])) for each in some]) for some in (train, samples)
        )
        rows, held = (_blocks(method, some, method.encode_image) for some in (train, samples))
        mean, deviation = rows.mean(dim=0), rows.std(dim=0).clamp(min=1e-6)
        weight, intercept = linear_layer((rows - mean) / deviation, labels, len(kinds), _PENALTY, iterations=200)
        logits = F.normalize((held - mean) / deviation, dim=1) @ weight.T + intercept
        return (logits.argmax(dim=1) == wanted).float()

    return measured


def _blocks(method: Any, samples: Sequence[Sample], call: Callable[[Tensor], Tensor]) -> Float[Tensor, "N D"]:
    preprocess = preprocess_of(method)
    with eval_without_grad(method):
        parts = (samples[start : start + _BATCH] for start in range(0, len(samples), _BATCH))
        return torch.cat([call(preprocess.read([each.picture for each in some])) for some in parts]).double()
