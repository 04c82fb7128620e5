"""Where claims about conditional similarity meet: scenes of one thing, alike in a respect that an instruction names.

The encoder is a vision transformer that was trained on what the scenes show, in all respects at once, so that its one
vector tells each of them; its texts are MiniLM's. Arms go on from there with triplets (picture, "the colour", "red"),
and pictures that were never seen are ranked by their likeness in each respect. Or the pictures are emoji in six styles:
what they show, and how they are drawn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from deixis.data import catalogue
from deixis.data.aspects import Aspect, column_value, scene_aspects, scene_value, triplets
from deixis.data.splits import concept_groups
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import SPLITS
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.source_code import file_hash
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import preprocess_of
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.files import atomic_path, cache_dir
from deixis.inputs.preprocess import Preprocess
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.vision import vit
from deixis.nn.vision.vit import Vit, VitConfig
from deixis.ops.similarity.identity import identity_ranks
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersEncodeAbout, OffersEncodeImage
from deixis.zoo import scratch, starter

__all__ = ["TASK", "Options", "base_encoder", "make"]

TASK = TaskCard(
    title="Scenes that are alike in the respect that an instruction names",
    metrics=("aspect_map", "held_wording", "untrained_map", "plain_map"),
    passes=("deixis.data.aspects", "deixis.zoo.starter", "deixis.zoo.scratch", "deixis.nn.vision.vit"),
)

_KINDS = ("arrow", "circle", "cross", "heart", "moon", "ring", "square", "star")
_EMOJI = (
    Aspect("group", ("what it shows", "the kind of thing", "what it is", "what is in the picture")),
    Aspect("style", ("how it is drawn", "the style", "in which style it is drawn", "the way of drawing")),
)
_RATE, _DECAY, _BATCH, _SCALE, _READ = 1e-3, 0.05, 128, 30.0, 250


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `aspects`.

    Attributes:
        pictures: `scenes` (kind, colour, size, place, ground) or `emoji` (what they show, and how they are drawn).
        untrained: a respect that no triplet asks for.
        side: of the pictures, in pixels.
        count: pictures to train on, each with a triplet for each respect; of emoji all that are not held out.
        held: pictures to tune on, and as many to report on.
        size: of the image tower, one of `deixis.zoo.scratch.SIZES`.
        base: steps for which the encoder was trained on labels.
        batch_size: triplets a step.
    """

    pictures: Literal["scenes", "emoji"] = "scenes"
    untrained: str = ""
    side: int = 48
    count: int = 6000
    held: int = 400
    size: str = "small"
    base: int = 1500
    batch_size: int = 128


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """Pictures of the three parts, and in which respects they are known."""

    parts: tuple[Source, ...]
    aspects: tuple[Aspect, ...]
    value_of: Callable[[Sample, str], str]


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; trains the encoder where the cache does not hold it: some minutes.

    Args:
        options: see `Options`.
        seed: of the pictures and the encoder.

    Raises:
        DeixisError: a value is out of range, or the starter or the set of emoji is not in the cache.
    """
    require_least(options, side=48, count=20, held=20, base=1, batch_size=2)
    if options.pictures not in ("scenes", "emoji"):  # a claim's options are not checked by their types
        raise DeixisError(f"pictures is {options.pictures!r}.", "It is scenes or emoji.")
    pictures = _scenes(options, seed) if options.pictures == "scenes" else _emoji(options, seed)
    names = [aspect.name for aspect in pictures.aspects]
    if options.untrained and options.untrained not in names:
        raise DeixisError(f"untrained is {options.untrained!r}.", f"It is empty or one of: {', '.join(names)}.")
    asked = tuple(aspect for aspect in pictures.aspects if aspect.name != options.untrained)
    known, validation, test = pictures.parts
    train = triplets(known, asked, pictures.value_of, held_wording=True)

    def encoder(number: int) -> DualEncoder:
        return base_encoder(options, seed, known, pictures.aspects, pictures.value_of)

    measures = {name: _measure(name, pictures, options.untrained) for name in TASK.metrics}
    return TrainingTask(train, validation, test, encoder, options.batch_size, measures=measures)


def _scenes(options: Options, seed: int) -> _Pictures:
    config = SceneConfig(
        cast="shapes",
        nouns=_KINDS,
        objects=(1, 1),
        repeats=1,
        tinted=1.0,
        phrases=0,
        questions=0,
        masks=False,
        scale=2.0,
    )
    counts = (options.count, options.held, options.held)
    parts = tuple(
        scenes(seed, count, split=split, side=options.side, config=config)
        for split, count in zip(SPLITS, counts, strict=True)
    )
    return _Pictures(parts, scene_aspects(parts[0]), scene_value)


def _emoji(options: Options, seed: int) -> _Pictures:
    """Things are divided, not pictures."""
    source = catalogue.read("emoji-styles")
    things = np.array(concept_groups(source.samples))
    order = np.random.Generator(np.random.PCG64((seed, 11))).permutation(np.unique(things)).tolist()
    taken: list[list[Sample]] = [[], []]
    owners = {thing: [s for s, t in zip(source.samples, things.tolist(), strict=True) if t == thing] for thing in order}
    for part in taken:
        while len(part) < options.held and order:
            part += owners[order.pop()]
    rest = [sample for thing in order for sample in owners[thing]][: options.count]
    parts = tuple(dataclasses.replace(source, samples=tuple(part)) for part in (rest, *taken))
    aspects = tuple(
        dataclasses.replace(each, values=tuple(sorted({column_value(sample, each.name) for sample in rest})))
        for each in _EMOJI
    )
    return _Pictures(parts, aspects, column_value)


# --- the encoder ------------------------------------------------------------------------------------------------------


def base_encoder(
    options: Options, seed: int, source: Source, aspects: Sequence[Aspect], value_of: Callable[[Sample, str], str]
) -> DualEncoder:
    """A vision transformer that tells the values of all respects by MiniLM's vectors of their words, in eval mode.

    Args:
        options: of the task.
        seed: of weights and order.
        source: pictures it learns from.
        aspects: the respects with their values.
        value_of: what a picture shows in a respect.

    Raises:
        DeixisError: the starter is not in the cache.
    """
    encoder = _untrained(options, seed)
    around = [torch.__version__, torch.backends.cpu.get_cpu_capability(), file_hash(Path(__file__))]
    facts = [dataclasses.asdict(options) | {"untrained": ""}, seed, *around, file_hash(Path(str(vit.__file__)))]
    name = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_dir("aspects", f"{name}.safetensors")
    with contextlib.suppress(OSError, SafetensorError, RuntimeError):  # missing or damaged: trained again
        encoder.image_tower.load_state_dict(load_file(path))
        return encoder.eval()
    texts = [encoder.encode_text(list(aspect.values)) for aspect in aspects]
    labels = [_labels(source.samples, aspect, value_of) for aspect in aspects]
    with torch.random.fork_rng(devices=[]), on_threads(1):  # over more, sums are rounded in another order
        torch.manual_seed(seed)
        _train(encoder, source.samples, labels, texts, options.base)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file({name: each.contiguous() for name, each in encoder.image_tower.state_dict().items()}, temporary)
    return encoder.eval()


def _untrained(options: Options, seed: int) -> DualEncoder:
    text, size = starter.load_minilm(), scratch.SIZES[options.size]
    sizes = (size.width, size.depth, max(1, size.width // 64), 4 * size.width, text.width)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = Vit(VitConfig(options.side, scratch.PATCH, *sizes))
    return DualEncoder(
        tower,
        text.text_tower,
        tokenizer=text.tokenizer,
        preprocess=Preprocess(options.side, mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3),
        traits=Traits("aspects", text.context_length, scale=_SCALE, licence=text.licence),
    ).eval()


def _labels(samples: Sequence[Sample], aspect: Aspect, value_of: Callable[[Sample, str], str]) -> Int64[Tensor, " N"]:
    return torch.tensor([aspect.values.index(value_of(sample, aspect.name)) for sample in samples])


def _train(
    encoder: DualEncoder, samples: Sequence[Sample], labels: Sequence[Tensor], texts: Sequence[Tensor], steps: int
) -> None:
    """Cross-entropy of each respect's values, added."""
    blocks = [samples[start : start + _READ] for start in range(0, len(samples), _READ)]
    images = torch.cat([encoder.preprocess.read([sample.picture for sample in block]) for block in blocks])
    tower = encoder.image_tower.train()
    optimiser = torch.optim.AdamW(tower.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, steps + 1)
    for _ in range(steps):
        rows = torch.randint(len(images), (_BATCH,))
        vectors = tower(images[rows]).embedding
        losses = [F.cross_entropy(_SCALE * vectors @ t.T, y[rows]) for t, y in zip(texts, labels, strict=True)]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        schedule.step()


# --- measures ---------------------------------------------------------------------------------------------------------


def _measure(name: str, pictures: _Pictures, untrained: str) -> Callable[[AnyMethod, Source], Float[Tensor, " Q"]]:
    """The average precision with which a picture finds those of its value in a respect: one value a picture and
    respect. `plain_map` is of vectors without an instruction."""
    chosen = [each for each in pictures.aspects if (each.name == untrained) == (name == "untrained_map")]
    if name == "plain_map":
        chosen = list(pictures.aspects)

    def measured(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
        if not chosen:
            raise DeixisError("All respects are trained.", "Name one in the option untrained.")
        values = []
        for aspect in chosen:
            words = "" if name == "plain_map" else aspect.wordings[-1 if name == "held_wording" else 0]
            names = [pictures.value_of(sample, aspect.name) for sample in source.samples]
            ids = torch.tensor([sorted(set(names)).index(each) for each in names])
            vectors = _vectors(method, source.samples, words)
            found = identity_ranks(vectors, vectors, ids, ids, torch.arange(len(vectors)))
            values.append(found.precision[found.hits > 0])
        return torch.cat(values).float()

    return measured


def _vectors(method: AnyMethod, samples: Sequence[Sample], instruction: str) -> Float[Tensor, "N D"]:
    preprocess, rows = preprocess_of(method), []
    with eval_without_grad(method):
        for start in range(0, len(samples), _READ):
            images = preprocess.read([sample.picture for sample in samples[start : start + _READ]])
            if instruction and offers(method, OffersEncodeAbout):
                rows.append(method.encode_about(images, [instruction] * len(images)))
            elif not instruction and offers(method, OffersEncodeImage):
                rows.append(method.encode_image(images))
            else:
                raise DeixisError("The method gives no vectors in a respect.", "Take one that offers encode_about.")
    return torch.cat(rows).double()
