"""Where claims about reading meet: drawn words in fonts never seen, few of them labelled, and words as text alone.

A small dual encoder has learned, before all arms and the same for all, which drawn word goes with which text. Its
image tower may start that of an arm; its text states may stand in for those of pictures. It is trained once a seed, and
kept in the cache.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re

import torch
from jaxtyping import Float
from torch import Tensor

from deixis import zoo
from deixis.data import catalogue
from deixis.data.loading.loader import Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.data.synthetic.scene_text import SceneTextConfig, vocabulary, words
from deixis.data.synthetic.scenes.object_bank import SPLITS, share
from deixis.engine.claims.claim_tasks import TrainingTask, require_least
from deixis.engine.claims.drawn_once import draw_once
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.training.batching import collate_for, preprocess_of
from deixis.engine.training.build import build
from deixis.engine.training.stages import name_of, trained
from deixis.engine.training.train import train
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.nn.dual import DualEncoder
from deixis.ops.text.spelling import plain_word
from deixis.types import Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import AnyMethod, OffersRead
from deixis.zoo import starter
from deixis.zoo.reader import characters

__all__ = ["TASK", "Options", "make", "word_accuracy"]

TASK = TaskCard(
    title="Drawn words to be read: learned from few pictures and many texts, measured on other fonts and words",
    metrics=("word_accuracy",),
    own_networks=True,
)

_HELD_BATCH = 128
_PAIRS_SEED = 1_000_000  # of pictures that no arm is given
_TEXTS_SEED = 2_000_000
_TRAINING = {"layers": "all", "statistics": True, "learning_rate": 1e-3, "warmup": 50, "schedule": "cosine"}
_TRAINER = "clip"  # what the dual encoder learns by


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `words`.

    Attributes:
        count: labelled pictures to train on.
        held: pictures to tune on, and as many to report on.
        texts: words without pictures, for stages that draw from the source `words`.
        pairs: pictures with texts that the dual encoder learns from.
        steps: it is trained for, in batches of 128.
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
        size: of the dual encoder, as in `deixis.zoo.reader.characters`.
        batch_size: words a step.
    """

    count: int = 1000
    held: int = 500
    texts: int = 20_000
    pairs: int = 6000
    steps: int = 400
    height: int = 16
    width: int = 64
    size: str = "small"
    batch_size: int = 64


def make(options: Options, seed: int) -> TrainingTask:
    """Makes the task; fewer labelled pictures are the first of more.

    Args:
        options: see `Options`.
        seed: of pictures, texts and the dual encoder.

    Raises:
        DeixisError: a value is out of range, or the fonts or the photographs are not in the cache.
    """
    require_least(options, count=2, held=2, texts=2, pairs=128, steps=1, batch_size=2)
    if options.batch_size > min(options.count, options.texts):
        raise DeixisError(
            f"A batch of {options.batch_size} is requested, and there are {options.count} pictures and "
            f"{options.texts} texts.",
            "Request smaller batches, or more of both.",
        )
    train_part, validation, test = (
        _drawn(options, seed, options.count if split == SPLITS[0] else options.held, split) for split in SPLITS
    )
    sources = {"words": _texts(options, seed), "photographs": catalogue.read("photos/photographs")}
    encoder = functools.partial(_encoder, options)
    measures = {"word_accuracy": word_accuracy}
    return TrainingTask(train_part, validation, test, encoder, options.batch_size, sources=sources, measures=measures)


def _drawn(options: Options, seed: int, count: int, split: str) -> Source:
    return words(seed, count, split=split, size=(options.width, options.height), config=SceneTextConfig(unseen="both"))


def _texts(options: Options, seed: int) -> Source:
    """Words of English (what ImageNet's classes are, by WordNet), numbers and random letters, as text alone. None is a
    word that validation or test show."""
    held = {word for split in SPLITS[1:] for word in share(vocabulary(), split)}
    english = {word for text in starter.class_prompts() for word in re.findall(r"[a-z]{2,12}", text.lower())}
    config = SceneTextConfig(fonts="builtin", words=tuple(sorted(english - held)), unseen="nothing")
    found = words(_TEXTS_SEED + seed, options.texts, config=config)
    samples = tuple(dataclasses.replace(each, image=None) for each in found.samples)
    return dataclasses.replace(found, kind="text", samples=samples)


def _encoder(options: Options, seed: int) -> DualEncoder:
    """The dual encoder of a seed: from the cache, or trained now."""
    facts = {name: value for name, value in dataclasses.asdict(options).items() if name not in _OF_ARMS}
    key = hashlib.sha256(json.dumps([facts, seed, _TRAINING]).encode()).hexdigest()[:16]
    folder = cache_dir("word-encoders") / key
    if not (folder / "config.json").is_file():
        zoo.save(_trained(options, seed), folder)
    return zoo.load(folder)


_OF_ARMS = ("count", "held", "texts", "batch_size")


def _trained(options: Options, seed: int) -> DualEncoder:
    source = draw_once(_drawn(options, _PAIRS_SEED + seed, options.pairs, SPLITS[0]))
    encoder = characters.load(f"{characters.NAME}:{options.height}x{options.width}:{options.size}", seed)
    method = trained(build(_TRAINER, "desk", _TRAINING, {"encoder": encoder}, seed))
    order = SampleOrder(128, seed=seed, shuffle=True, last="drop")
    with Loader(source, collate_for(method, source), order, workers=1) as loader:
        train(method, loader, options.steps, seed=seed)
    return encoder


def word_accuracy(method: AnyMethod, source: Source) -> Float[Tensor, " Q"]:
    """1 where a word is read as it is written, but for case and signs that are no letters or digits.

    Args:
        method: that reads.
        source: pictures whose captions are what they show.

    Raises:
        DeixisError: the method can't read.
    """
    if not isinstance(method, OffersRead):
        raise DeixisError(f"{name_of(method)} does not read.", "Measure something else of it.")
    preprocess, found = preprocess_of(method), []
    with eval_without_grad(method):
        for start in range(0, len(source.samples), _HELD_BATCH):
            block = source.samples[start : start + _HELD_BATCH]
            read = method.read(preprocess.read([sample.picture for sample in block]))
            found += [plain_word(one) == plain_word(each.captions[0]) for one, each in zip(read, block, strict=True)]
    return torch.tensor(found, dtype=torch.float64)
