"""Where claims about saliency maps meet: a small classifier that was trained on scenes, and scenes to explain it on.

An arm trains nothing here: it explains the classifier of its seed, and its curve is the mean of the measure over the
first so many scenes. All arms explain the same classifier. It is trained once a seed, from shapes that are all tinted,
so that colour carries no information and early layers do not separate the classes, and cached.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.data.synthetic.scenes import SceneConfig, drawing, scenes
from deixis.engine.claims.claim_tasks import CurveResult, part_hash
from deixis.engine.claims.source_code import file_hash
from deixis.engine.evaluation.saliency import build_explainer, measured, questions
from deixis.files import atomic_path, cache_dir
from deixis.inputs.preprocess import Preprocess
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder, Traits
from deixis.nn.frozen import freeze
from deixis.nn.language.bag_of_words import BagConfig, BagOfWords
from deixis.nn.vision import plain_cnn
from deixis.nn.vision.plain_cnn import PlainCnn, PlainCnnConfig
from deixis.types import Source
from deixis.types.cards import TaskCard
from deixis.zoo.scratch import MARKS, words_of

__all__ = ["NOUNS", "TASK", "Options", "SaliencyTask", "classifier", "held_out", "make"]

TASK = TaskCard(
    title="Saliency maps of a small classifier that was trained on scenes",
    metrics=(
        "pointing_game",
        "pointing_early",
        "pointing_first_half",
        "overlap",
        "class_sensitivity",
    ),
    axis="scenes explained",
    own_networks=True,
)

NOUNS = ("arrow", "bar", "circle", "cross", "heart", "ring", "star", "triangle")
"""Shapes that differ at 64 pixels."""

_TRAINED_BY = (Path(__file__), Path(str(plain_cnn.__file__)), Path(str(drawing.__file__)))
"""Code that the classifier hangs on, part of the cache's key."""

_ON_THINGS = ("pointing_game", "pointing_early", "pointing_first_half", "overlap")
"""What guessing gives of these is the share of an image that the thing takes."""

_POINTS = 4
_LEARNING_RATE, _DECAY, _BATCH = 6e-3, 0.05, 64


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `explained`.

    Attributes:
        side: of the scenes, in pixels.
        scenes: that the classifier learns from.
        steps: that it learns for, 64 scenes each.
        channels: of its blocks.
        labels: `true`, or `random`: scenes have the labels of others, so that there is nothing to learn but the scenes
            themselves.
    """

    side: int = 64
    scenes: int = 3000
    steps: int = 600
    channels: tuple[int, ...] = (8, 16, 32, 32)
    labels: Literal["true", "random"] = "true"


@dataclasses.dataclass(frozen=True)
class SaliencyTask:
    """A classifier, and how arms are tried on it.

    Attributes:
        encoder: that is explained.
        options: of the scenes.
        seed: of the classifier, its scenes and those that it is explained on.
    """

    encoder: DualEncoder
    options: Options
    seed: int

    def curve(
        self,
        method: str,
        settings: Mapping[str, Any],
        metric: str,
        split: Literal["validation", "test"],
        budget: int,
    ) -> CurveResult:
        """Scenes explained and the mean of the metric so far; and the seconds of the processor that it took.

        Args:
            method: by name; of the capability `attribute`.
            settings: that differ from its `desk` preset.
            metric: one of `deixis.engine.evaluation.saliency.METRICS`.
            split: of the scenes.
            budget: scenes; at least two.

        Raises:
            DeixisError: there is no such metric, or the method can't make the map.
        """
        source = self._source(split, max(budget, 2))
        queries, start = questions(self.encoder, source), time.process_time()
        values = measured(metric, build_explainer(method, settings, self.encoder, self.seed), queries)
        seconds = time.process_time() - start
        whole = len(queries.images)
        owner = queries.picture if len(values) == len(queries.picture) else torch.arange(whole)
        counts = sorted({max(1, whole * step // _POINTS) for step in range(1, _POINTS + 1)})
        points = tuple((float(count), float(values[owner < count].mean())) for count in counts)
        chance = float(queries.masks.float().mean()) if metric in _ON_THINGS else None
        return CurveResult(points, seconds, tuple(values.tolist()), chance, part_hash(source))

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """Seconds that a curve takes, from a tenth of the scenes."""
        some = max(2, budget // 10)
        start = time.process_time()
        self.curve(method, settings, metric, "validation", some)
        return (time.process_time() - start) * max(budget, 2) / some

    def _source(self, split: str, count: int) -> Source:
        return held_out(self.options, self.seed, "val" if split == "validation" else "test", count)


def make(options: Options, seed: int) -> SaliencyTask:
    """Makes the task; trains the classifier where the cache does not hold it: a minute.

    Args:
        options: see `Options`.
        seed: of the classifier and the scenes.
    """
    return SaliencyTask(classifier(options, seed), options, seed)


def held_out(options: Options, seed: int, split: str, count: int) -> Source:
    """Scenes of two shapes of different nouns that no classifier learned from."""
    return scenes(seed, count, split=split, side=options.side, config=_config((2, 2)))


def _config(objects: tuple[int, int]) -> SceneConfig:
    plain = SceneConfig(cast="shapes", unseen="nothing", nouns=NOUNS, objects=objects, repeats=1, tinted=1.0)
    return dataclasses.replace(plain, phrases=0, questions=0)


def classifier(options: Options, seed: int) -> DualEncoder:
    """The classifier as a dual encoder in eval mode: an image's embedding are its class scores, a text's the nouns it
    names. It says of each noun whether it is there (binary cross-entropy), one to three being there.

    Args:
        options: of scenes and sizes.
        seed: of scenes, weights and order.
    """
    encoder = _untrained(options, seed)
    surroundings = [torch.__version__, torch.backends.cpu.get_cpu_capability(), *map(file_hash, _TRAINED_BY)]
    facts = json.dumps([dataclasses.asdict(options), seed, *surroundings], sort_keys=True)
    name = f"{hashlib.sha256(facts.encode()).hexdigest()[:16]}.safetensors"
    path = cache_dir("explained", name)
    with contextlib.suppress(OSError, SafetensorError, RuntimeError):  # missing or damaged: trained again
        encoder.image_tower.load_state_dict(load_file(path))
        return freeze(encoder)
    with torch.random.fork_rng(devices=[]), on_threads(1):  # over more, sums are rounded in another order
        _train(encoder.image_tower, options, seed)
    _keep(encoder.image_tower, path)
    return freeze(encoder)


def _keep(tower: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        save_file({name: value.contiguous() for name, value in tower.state_dict().items()}, temporary)


def _untrained(options: Options, seed: int) -> DualEncoder:
    tokenizer, count = words_of(NOUNS), len(NOUNS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        tower = PlainCnn(PlainCnnConfig(tuple(options.channels), count))
        words = BagOfWords(BagConfig(tokenizer.vocabulary, count, count, tuple(range(len(MARKS)))))
    with torch.no_grad():
        words.words.weight.zero_()
        words.projection.weight.copy_(torch.eye(count))
        for place, noun in enumerate(NOUNS):
            token = tokenizer([noun], 3).ids[0]
            words.words.weight[[int(each) for each in token if int(each) >= len(MARKS)], place] = 1.0
    return DualEncoder(
        tower,
        words,
        tokenizer=tokenizer,
        preprocess=Preprocess(options.side, mode="squash", mean=(0.5,) * 3, std=(0.5,) * 3),
        traits=Traits("shapes", 16, scale=1.0, licence="none needed: trained here on shapes drawn here"),
    ).eval()


def _train(tower: nn.Module, options: Options, seed: int) -> None:
    images, labels = _drawn(options, seed)
    torch.manual_seed(seed)
    if options.labels == "random":
        labels = labels[torch.randperm(len(labels))]
    optimiser = torch.optim.AdamW(tower.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, options.steps)
    tower.train()
    for _ in range(options.steps):
        rows = torch.randint(len(images), (_BATCH,))
        scores = tower(images[rows].float() / 127.5 - 1).embedding
        optimiser.zero_grad()
        F.binary_cross_entropy_with_logits(scores, labels[rows]).backward()
        optimiser.step()
        schedule.step()
    tower.eval()


@functools.lru_cache(maxsize=1)
def _drawn(options: Options, seed: int) -> tuple[UInt8[Tensor, "B 3 H W"], Float[Tensor, "B C"]]:
    """Training scenes, and which nouns are there."""
    config = dataclasses.replace(_config((1, 3)), masks=False)
    source = scenes(seed, options.scenes, split="train", side=options.side, config=config)
    pixels = np.stack([sample.image.draw() for sample in source.samples])  # type: ignore[union-attr]
    there = [{region.category for region in sample.regions} for sample in source.samples]
    labels = torch.tensor([[float(noun in each) for noun in NOUNS] for each in there])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), labels
