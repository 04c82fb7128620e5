"""Where claims about answer masks meet: small scenes of large shapes, questions about them, and where the answers lie.

A new tower is trained on questions and the masks of the things that their answers rest on. It is measured on scenes
whose pairs of noun and colour no training scene holds: by the overlap with the mask, of all questions and by kind.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data.grounding import answer_masks
from deixis.data.loading.crops import seen_mask
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.expressions import RELATIONS
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of, tokenized
from deixis.engine.training.stages import name_of, offers
from deixis.errors import DeixisError
from deixis.inputs.preprocess import Preprocess
from deixis.nn.encoders import ImageHalf
from deixis.nn.vision.modified_resnet import ModifiedResNet, ModifiedResNetConfig
from deixis.ops.regions.dense import mask_iou
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersAnswerMask
from deixis.zoo import scratch

__all__ = ["TASK", "Options", "make"]

TASK = TaskCard(
    title="Questions about small scenes of large shapes: the pixels that the answer rests on",
    metrics=("answer_iou", "attribute", "object", "yes_no", "relation", "count", "everything"),
    passes=("deixis.nn.vision.modified_resnet",),
)

_BATCH, _OUT, _LEAST = 100, 32, 0.5
_KINDS = {"yes_no": "yes/no"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `answers`.

    Attributes:
        cast: as in `deixis.data.synthetic.scenes.SceneConfig`, and so are `objects`, `questions` and `scale`.
        objects: the fewest and the most things in a scene.
        questions: the most of a scene.
        scale: factor on the size of things.
        side: of the images, in pixels.
        count: scenes to train on.
        held: scenes to tune on, and as many to report on.
        channels: of the stem of the tower, a ResNet of four maps with strides of 4 to 32.
        batch_size: questions a step.
    """

    cast: str = "shapes"
    objects: tuple[int, int] = (2, 4)
    questions: int = 4
    scale: float = 1.5
    side: int = 64
    count: int = 3_000
    held: int = 200
    channels: int = 8
    batch_size: int = 32


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the scenes.

    Raises:
        DeixisError: a value is out of range, or the set that the scenes are made of is not in the cache.
    """
    require_least(options, count=2, held=2, batch_size=2, questions=1)
    train, validation, test = (_source(options, split, seed) for split in SPLITS)

    def encoder(number: int) -> ImageHalf:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(number)
            sizes = (options.side, (1, 1, 1, 1), options.channels, options.channels // 2, _OUT)
            network = ModifiedResNet(ModifiedResNetConfig(*sizes))
        plain = scratch.image_half("tiny")
        preprocess = dataclasses.replace(plain.preprocess, size=options.side)
        return ImageHalf(network, preprocess, plain.name, plain.licence).eval()

    return TrainingTask(train, validation, test, encoder, options.batch_size, measures=_MEASURES)


def _source(options: Options, split: str, seed: int) -> Source:
    config = SceneConfig(
        cast=options.cast,
        unseen="pair",
        objects=options.objects,
        repeats=2,
        tinted=1.0,
        phrases=0,
        questions=options.questions,
        scale=options.scale,
    )
    count = options.count if split == SPLITS[0] else options.held
    return answer_masks(scenes(seed, count, split=split, side=options.side, config=config))


def _asked(source: Source, kind: str) -> list[Sample]:
    """The questions of a kind; of `relation`, those that ask how one thing lies to another."""
    samples = [
        sample
        for sample in source.samples
        if kind in ("", sample.extra["kind"]) or (kind == "relation" and _relates(sample.captions[0]))
    ]
    if not samples:
        raise DeixisError(f"{source.name!r} has no question of the kind {kind!r}.", "Give more scenes.")
    return samples


def _relates(question: str) -> bool:
    return any(f" {words} the " in question for ways in RELATIONS.values() for words in ways)


def _expected(sample: Sample, preprocess: Preprocess) -> Tensor:
    """What the answer rests on, as the model sees it; the scenes are squares of its size."""
    found = torch.zeros(preprocess.size, preprocess.size, dtype=torch.bool)
    for region in sample.regions:
        found |= seen_mask(region, preprocess)
    return found


def _shower(method: AnyMethod) -> OffersAnswerMask:
    if not offers(method, OffersAnswerMask):
        raise DeixisError(f"{name_of(method)} shows no answers.", "Measure something else of it.")
    return method


def _overlap(method: AnyMethod, source: Source, kind: str = "") -> Float[Tensor, " Q"]:
    """The IoU of what is shown with what the answer rests on; of two empty masks it is 1."""
    samples, preprocess = _asked(source, kind), preprocess_of(method)
    texts = dict.fromkeys(sample.captions[0] for sample in samples)
    rows = dict(zip(texts, tokenized(method, list(texts)), strict=True))
    found = []
    with eval_without_grad(method):
        for start in range(0, len(samples), _BATCH):
            some = samples[start : start + _BATCH]
            images = preprocess.read([sample.picture for sample in some])
            pairs = [rows[sample.captions[0]] for sample in some]
            length = max(tokens.shape[1] for tokens, _ in pairs)
            tokens, real = (
                torch.cat([torch.nn.functional.pad(pair[place], (0, length - pair[place].shape[1])) for pair in pairs])
                for place in (0, 1)
            )
            shown = _shower(method).answer_mask(images, tokens, real) >= _LEAST
            found.append(mask_iou(shown, torch.stack([_expected(sample, preprocess) for sample in some])))
    return torch.cat(found)


def _everything(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """The same of who shows all things of the scene, whatever the question."""
    preprocess = preprocess_of(method)
    every: dict[int, Tensor] = {}
    for sample in source.samples:
        pixels = _expected(sample, preprocess)
        every[id(sample.image)] = every.get(id(sample.image), pixels) | pixels
    values = [mask_iou(every[id(s.image)][None], _expected(s, preprocess)[None]) for s in source.samples]
    return torch.cat(values)


_MEASURES: dict[str, Callable[[Any, Source], Tensor]] = {
    "answer_iou": _overlap,
    **{
        name: functools.partial(_overlap, kind=_KINDS.get(name, name))
        for name in ("attribute", "object", "yes_no", "relation", "count")
    },
    "everything": _everything,
}
