"""Where claims about reasons in words meet: long captions, and what part of a score the words hold that are quoted.

The score is the starter's, of a picture and its caption; the scores of words are what relevance propagation gives. Of
the five words that hold most of the positive score, those that are quoted count. Rivals quote as many words as the
search does: the first ones, or runs of the same lengths at random places. A curve runs over captions.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis import zoo
from deixis.data import catalogue
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.engine.chat_writer import ChatWriter
from deixis.engine.claims.claim_tasks import CurveResult, part_hash, require_least
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder
from deixis.nn.relevance import text_relevance
from deixis.ops.text.quotations import places_of, quotations
from deixis.types import Sample, Source
from deixis.types.cards import TaskCard
from deixis.types.protocols import OffersVerbalise

__all__ = ["TASK", "Options", "ReasonsTask", "ScoredText", "make"]

TASK = TaskCard(
    title="Long captions, and the words that are quoted as the reason of their score",
    metrics=("coverage_at_5", "first_words", "random_runs", "top_words", "language_model", "passed"),
    axis="captions explained",
    passes=("deixis.zoo.starter", "deixis.engine.chat_writer", "deixis.data.synthetic.scenes.captions"),
)

_LARGEST, _POINTS, _LEAST_WORDS = 5, 4, 8
_RUNS, _ALL = "random_runs", "coverage_at_5"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `reasons`.

    Attributes:
        model: whose scores are explained.
        scenes: generated scenes with long captions, in each part.
        side: of the scenes, in pixels.
        objects: the fewest and the most things in a scene.
        drawn: captions of the set `gcompris`, in each part.
        writer: the language model, a part `lm`, that is asked where a metric is about it.
    """

    model: str = "starter"
    scenes: int = 70
    side: int = 96
    objects: tuple[int, int] = (3, 5)
    drawn: int = 30
    writer: str = "smollm2"


class ScoredText(NamedTuple):
    """The words of a text, and what each has in the score."""

    words: tuple[str, ...]
    scores: Float[Tensor, " N"]


@dataclasses.dataclass(frozen=True)
class ReasonsTask:
    """Texts whose words are scored, and how arms are tried on them.

    Attributes:
        options: of the texts.
        seed: of the scenes, of which drawings are taken, and of random runs.
    """

    options: Options
    seed: int

    def curve(
        self, method: str, settings: Mapping[str, Any], metric: str, split: Literal["validation", "test"], budget: int
    ) -> CurveResult:
        """Captions explained and the mean of the metric so far; and the seconds of the processor that it took.

        Args:
            method: by name; of the capability `verbalise`.
            settings: that differ from its `desk` preset.
            metric: one of the task's.
            split: of the captions.
            budget: captions; at least four.

        Raises:
            DeixisError: there is no such metric, or the method says no reasons.
        """
        source, texts = _scored(self.options, self.seed, split, max(budget, _POINTS))
        speaker = build(method, "desk", settings)
        if not isinstance(speaker, OffersVerbalise):
            raise DeixisError(f"{method} says no reasons.", "Take a method that offers verbalise.")
        start = time.process_time()
        writer = ChatWriter(zoo.load_part("lm", self.options.writer)) if metric in TASK.metrics[4:] else None
        values = [_value(metric, speaker, text, writer, (self.seed, row)) for row, text in enumerate(texts)]
        seconds = time.process_time() - start
        counts = sorted({max(1, len(values) * step // _POINTS) for step in range(1, _POINTS + 1)})
        points = tuple((float(count), float(np.mean(values[:count]))) for count in counts)
        return CurveResult(points, seconds, tuple(values), None, part_hash(source))

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """Seconds that a curve takes, from a tenth of the captions."""
        some, start = max(_POINTS, budget // 10), time.process_time()
        self.curve(method, settings, metric, "validation", some)
        return (time.process_time() - start) * max(budget, some) / some


def make(options: Options, seed: int) -> ReasonsTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the scenes and the drawings.

    Raises:
        DeixisError: a value is out of range.
    """
    require_least(options, scenes=1, drawn=1, side=32)
    return ReasonsTask(options, seed)


# ---- texts


@functools.lru_cache(maxsize=2)
def _scored(options: Options, seed: int, split: str, count: int) -> tuple[Source, tuple[ScoredText, ...]]:
    """Captions in the order in which they are asked about, scenes and drawings mixed, and the scores of their words."""
    part = "val" if split == "validation" else "test"
    config = SceneConfig(objects=options.objects, repeats=1, phrases=0, questions=0, masks=False)
    drawn = scenes(seed, options.scenes, split=part, side=options.side, config=config)
    told = [
        dataclasses.replace(each, captions=(" ".join(one["text"] for one in each.extra["sentences"]),))
        for each in drawn.samples
    ]
    known = [each for each in catalogue.read("gcompris").samples if each.image is not None]
    known = [dataclasses.replace(each, captions=each.captions[-1:]) for each in known if len(each.captions) > 1]
    rng = np.random.Generator(np.random.PCG64((seed, 29)))
    order = [known[i] for i in rng.permutation(len(known))]
    own = order[: options.drawn] if split == "validation" else order[options.drawn :][: options.drawn]
    samples = [*told, *own]
    samples = [samples[i] for i in rng.permutation(len(samples))][:count]
    encoder: DualEncoder = zoo.load(options.model)
    with on_threads(1):
        texts = [_of(encoder, sample) for sample in samples]
    kept = [
        place for place, text in enumerate(texts) if len(text.words) >= _LEAST_WORDS and bool((text.scores > 0).any())
    ]
    source = dataclasses.replace(drawn, samples=tuple(samples[place] for place in kept))
    return source, tuple(texts[place] for place in kept)


def _of(encoder: DualEncoder, sample: Sample) -> ScoredText:
    text = sample.captions[0]
    with torch.no_grad():
        image = encoder.encode_image(encoder.preprocess.read([sample.picture]))
    [found] = text_relevance(encoder, [text], image)
    total = sum(abs(score) for *_, score in found) or 1.0
    return ScoredText(
        tuple(text[start:stop] for start, stop, _ in found), torch.tensor([score / total for *_, score in found])
    )


# ---- what is quoted


def _value(
    metric: str,
    speaker: OffersVerbalise,
    text: ScoredText,
    writer: Callable[[Sequence[tuple[str, str]]], str] | None,
    draw: tuple[int, int],
) -> float:
    if metric == "passed":
        answers: list[str] = []

        def noted(messages: Sequence[tuple[str, str]]) -> str:
            assert writer is not None
            answers.append(" ".join(writer(messages).split()))
            return answers[-1]

        return float(speaker.verbalise(text.words, text.scores, noted) in answers)
    quoted = _quoted(speaker.verbalise(text.words, text.scores, writer), text)
    if metric in (_ALL, "language_model"):
        return _coverage(quoted, text)
    chosen = torch.zeros_like(quoted)
    if metric == _RUNS:
        chosen = _moved(quoted, np.random.Generator(np.random.PCG64((*draw, 31))))
    elif metric == "first_words":
        chosen[: int(quoted.sum())] = True
    elif metric == "top_words":
        chosen[text.scores.argsort(descending=True, stable=True)[: int(quoted.sum())]] = True
    else:
        raise DeixisError(f"There is no metric {metric!r}.", f"There are: {', '.join(TASK.metrics)}.")
    return _coverage(chosen, text)


def _quoted(sentence: str, text: ScoredText) -> Bool[Tensor, " N"]:
    """The words that a sentence quotes; of several places those that hold most."""
    chosen = torch.zeros(len(text.words), dtype=torch.bool)
    for *_, run in quotations(sentence):
        places = list(places_of(run, text.words))
        if places:
            first, last = max(places, key=lambda ends: float(text.scores[slice(*ends)].sum()))
            chosen[first:last] = True
    return chosen


def _moved(quoted: Bool[Tensor, " N"], rng: np.random.Generator) -> Bool[Tensor, " N"]:
    """Runs of the same lengths at random places, in a random order; they do not overlap."""
    lengths = [len(list(run)) for marked, run in itertools.groupby(quoted.tolist()) if marked]
    order = rng.permutation(len(lengths))
    spare = len(quoted) - sum(lengths)
    gaps = np.sort(rng.integers(0, spare + 1, len(lengths)))
    chosen, used = torch.zeros_like(quoted), 0
    for gap, number in zip(gaps.tolist(), order.tolist(), strict=True):
        chosen[gap + used : gap + used + lengths[number]] = True
        used += lengths[number]
    return chosen


def _coverage(chosen: Bool[Tensor, " N"], text: ScoredText) -> float:
    """What part of the positive score of the five largest words is quoted."""
    largest = torch.zeros_like(chosen)
    largest[text.scores.argsort(descending=True, stable=True)[:_LARGEST]] = True
    positive = text.scores.clamp(min=0)
    return float(positive[chosen & largest].sum() / positive.sum())
