"""Where few-shot claims meet: real images that a frozen encoder has encoded once, and a curve over images a class.

An arm is no run by steps here: it learns anew from 1, 2, 4... images of each class, and the curve is how often it is
then right about the part that is tested, averaged over the sets. Parts do not change with the seed, which draws the
images that are learned from (and, for new classes, which half of them is new): so no image that settings were chosen by
is ever reported on.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from deixis import zoo
from deixis.data import catalogue
from deixis.data.quality import check
from deixis.data.splits import concept_groups
from deixis.engine.claims.claim_tasks import CurveResult
from deixis.engine.features.embedding import image_states
from deixis.engine.fewshot.benchmark import FewShotBenchmark, TrialScores, labelled
from deixis.engine.fewshot.draws import Labelled, Parts, draw, halves, limited, parts, two_sided
from deixis.engine.fewshot.means import harmonic
from deixis.engine.fewshot.recipe import fingerprint
from deixis.errors import DeixisError
from deixis.files import cache_dir, write_json
from deixis.nn.dual import DualEncoder
from deixis.types import Source
from deixis.types.cards import TaskCard

__all__ = ["METRICS", "TASK", "FewShotTask", "Options", "bench_of", "make"]

TASK = TaskCard(
    title="Classes of real images, learned from a few of each with a frozen encoder",
    metrics=("accuracy", "base_accuracy", "new_accuracy", "harmonic_mean"),
    axis="images a class",
    passes=("deixis.zoo.starter",),  # of the default model, which is loaded by name
)

METRICS = TASK.metrics
"""What can be measured: on all classes; or, half of the classes being learned, on these, on the others, and the
harmonic mean of both. Classes compete within their half. Settings of the last two are chosen by accuracy on the
learned classes: new ones that were chosen by would be no new ones."""

_TEST, _VALIDATION = 0.35, 0.15
_LOOK = (1, 2)
_SPOKEN = {"fruit n veg": "fruit and vegetables", "clothes n accessories": "clothes and accessories"}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `few_shot`.

    Attributes:
        sets: that must be in the cache, such as `fashion` or `gcompris/labels`; results are averaged over them.
        shots: images a class.
        model: the frozen encoder.
        least: images below which a class is left out.
        most: images of each class, on average, that are used of larger sets.
        left_out: classes that mean nothing.
        exchanged: measures of halves are the mean of a draw and of the same with its halves exchanged, so that which
            half is new decides less.
    """

    sets: tuple[str, ...] = ("stamps", "art4apps", "gcompris/labels", "fashion")
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    model: str = "starter"
    least: int = 25
    most: int = 80
    left_out: tuple[str, ...] = ("other things",)
    exchanged: bool = False


@dataclasses.dataclass(frozen=True)
class FewShotTask:
    """Sets, and how arms are tried on them.

    Attributes:
        benches: one a set.
        shots: images a class, ascending.
        seed: of the draws and of the methods.
        exchanged: whether halves take both parts, see `Options`.
    """

    benches: tuple[FewShotBenchmark, ...]
    shots: tuple[int, ...]
    seed: int
    exchanged: bool = False

    def curve(
        self,
        method: str,
        settings: Mapping[str, Any],
        metric: str,
        split: Literal["validation", "test"],
        budget: int,
    ) -> CurveResult:
        """Images a class and the metric then, averaged over the sets; and the seconds that learning took.

        Args:
            method: by name.
            settings: that differ from its `desk` preset.
            metric: one of `METRICS`.
            split: the part that is tested.
            budget: images a class at the most; where that leaves fewer than two numbers, as in a look at whether all
                works, 1 and 2 are taken.

        Raises:
            DeixisError: there is no such metric, or the method can't learn these classes.
        """
        points, seconds, found = [], 0.0, list[_SetScore]()
        for k in self._within(budget):
            found = [
                self._one(bench, method, settings, (metric, split, k), turned)
                for bench in self.benches
                for turned in self._turns(metric)
            ]
            points.append((float(k), float(np.mean([each.value for each in found]))))
            seconds += sum(each.seconds for each in found)
        chance = float(np.mean([each.chance for each in found]))
        return CurveResult(tuple(points), seconds, _weighted([each.right for each in found]), chance, self._part(split))

    def _turns(self, metric: str) -> tuple[bool, ...]:
        """Whether halves are exchanged: no, and of measures of halves yes, too, where that is requested."""
        return (False, True) if self.exchanged and metric != METRICS[0] else (False,)

    def _part(self, split: str) -> str:
        """A fingerprint of the part that is tested, which is the same for all seeds."""
        parts = [_parts(bench.data) for bench in self.benches]
        return fingerprint([(split, each.validation if split == "validation" else each.test) for each in parts])

    def _within(self, budget: int) -> tuple[int, ...]:
        shots = tuple(k for k in self.shots if k <= budget)
        return shots if len(shots) > 1 else _LOOK

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """About how many seconds a curve takes, from the largest draw of the first set: in proportion to the images."""
        shots = self._within(budget)
        seconds = self._one(self.benches[0], method, settings, (metric, "validation", shots[-1]), False).seconds
        return seconds * sum(shots) / shots[-1] * len(self.benches) * len(self._turns(metric))

    def _one(
        self,
        bench: FewShotBenchmark,
        method: str,
        settings: Mapping[str, Any],
        tested: tuple[str, str, int],
        turned: bool,
    ) -> _SetScore:
        metric, split, k = tested
        if metric not in METRICS:
            raise DeixisError(f"There is no measure {metric!r} of few shots.", f"There are: {', '.join(METRICS)}.")
        made = _parts(bench.data)
        names = two_sided(bench.data, made)
        there = made.validation if split == "validation" else made.test
        if metric == METRICS[0]:
            found = self._learned(bench, method, settings, k, [(there, names)])
            return _SetScore(float(found.right[0].mean()), found.seconds, 1 / len(names), found.right[0])
        base, new = halves(names, self.seed)[:: -1 if turned else 1]
        wanted = (base,) if split == "validation" or metric == METRICS[1] else (base, new)
        found = self._learned(bench, method, settings, k, [(there, half) for half in wanted])
        values, chances = [float(right.mean()) for right in found.right], [1 / len(half) for half in (base, new)]
        if len(values) == 1:
            return _SetScore(values[0], found.seconds, chances[0], found.right[0])
        if metric == METRICS[2]:
            return _SetScore(values[1], found.seconds, chances[1], found.right[1])
        return _SetScore(harmonic(*values), found.seconds, harmonic(*chances), None)

    def _learned(
        self,
        bench: FewShotBenchmark,
        method: str,
        settings: Mapping[str, Any],
        k: int,
        tested: Sequence[tuple[Sequence[int], Sequence[str]]],
    ) -> TrialScores:
        """Learns the classes of the first question."""
        names = tested[0][1]
        drawn = draw(bench.data, _parts(bench.data).train, names, (k,), self.seed)[k]
        questions = [(bench.data.where(among, half), half) for among, half in tested]
        return bench.evaluate(method, settings, drawn, names, questions, self.seed)


class _SetScore(NamedTuple):
    """What came out on one set; `right` is 1 or 0 an image, where the value is their mean."""

    value: float
    seconds: float
    chance: float
    right: NDArray[np.float64] | None


def _weighted(rights: Sequence[NDArray[np.float64] | None]) -> tuple[float, ...]:
    """One value an image whose mean over all images is the mean over sets."""
    known = [right for right in rights if right is not None]
    if len(known) < len(rights):
        return ()
    count = sum(map(len, known))
    return tuple(float(each) * count / (len(known) * len(right)) for right in known for each in right)


@functools.cache
def _parts(data: Labelled) -> Parts:
    return parts(data, 0, _TEST, _VALIDATION)


def make(options: Options, seed: int) -> FewShotTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the draws.

    Raises:
        DeixisError: `shots` is out of order, or a set is not in the cache.
    """
    if len(options.shots) < 2 or list(options.shots) != sorted(set(options.shots)):
        raise DeixisError(f"shots is {options.shots}.", "Give at least two numbers, ascending.")
    sources = [
        _chosen(labelled(catalogue.read(name)), options) for name in options.sets
    ]  # refuses before weights are loaded
    encoder = _encoder(options.model)
    benches = tuple(bench_of(encoder, source) for source in sources)
    return FewShotTask(benches, options.shots, seed, options.exchanged)


@functools.cache
def _encoder(model: str) -> DualEncoder:
    return zoo.load(model)


def _chosen(source: Source, options: Options) -> Source:
    """The classes that are large enough, under the names that texts give them, and not too many images of them."""
    labels = [str(sample.label) for sample in source.samples]
    large = {name for name in set(labels) if labels.count(name) >= options.least} - set(options.left_out)
    samples = [
        dataclasses.replace(sample, label=_SPOKEN.get(str(sample.label), sample.label), split="")
        for sample in source.samples
        if sample.label in large
    ]
    retained = limited([str(sample.label) for sample in samples], options.most * len(large))
    return dataclasses.replace(source, samples=tuple(samples[i] for i in retained))


def bench_of(encoder: DualEncoder, source: Source) -> FewShotBenchmark:
    """A source as the encoder sees it; cached, for every process that tries an arm needs it.

    Args:
        encoder: the frozen model.
        source: labelled samples.

    Raises:
        DeixisError: an image can't be read, or the cache not be written.
    """
    facts = [(sample.id, sample.label, _size(sample.picture)) for sample in source.samples]
    path = cache_dir("few-shot", f"{source.name}-{fingerprint(facts)}.json")
    groups, hashes = _checked(source, path)
    states = image_states(encoder, [sample.picture for sample in source.samples], hashes)
    return FewShotBenchmark(encoder, Labelled.of(source.samples, groups), states.embedding, states.features)


def _checked(source: Source, path: Path) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The group and the content's hash of each sample, from `path` if they are there."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(path.read_text(encoding="utf-8"))
        return tuple(known["groups"]), tuple(known["hashes"])
    report = check.check(source)
    if report.unreadable:
        raise DeixisError(f"{report.unreadable[0].path} can't be read.", f"Fetch {source.name} again.")
    groups = tuple(concept_groups(source.samples, report.same))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"groups": groups, "hashes": report.hashes})
    return groups, tuple(report.hashes)


def _size(picture: Any) -> int:
    return os.stat(picture).st_size if isinstance(picture, Path) else 0
