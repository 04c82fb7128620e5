"""Where claims about classes that are known by words meet: few shots of classes of which texts say what they are.

As `few_shot`, and beside it: texts, for the methods that read any, or the same texts exchanged between classes; and
disjoint sets of classes a seed, over which results are averaged. The set by default has one drawing of each concept in
each of six styles: three are learned from, one chooses settings, two are reported on. No picture ever chooses a text.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from deixis import zoo
from deixis.data import catalogue
from deixis.data.knowledge.texts import Knowledge, exchanged
from deixis.engine.claims.claim_tasks import require_least
from deixis.engine.claims.tasks.few_shot import FewShotTask, bench_of
from deixis.engine.features.cells import image_cells
from deixis.engine.fewshot.benchmark import FewShotBenchmark, TrialScores, labelled
from deixis.engine.fewshot.draws import Labelled, parts, two_sided
from deixis.engine.fewshot.knowledge import knowledge_of, knowledge_settings
from deixis.engine.fewshot.learners import takes
from deixis.engine.fewshot.names import class_names
from deixis.errors import DeixisError
from deixis.types import Source
from deixis.types.cards import TaskCard

__all__ = ["TASK", "DescribedTask", "Options", "make", "only"]

TASK = TaskCard(
    title="Classes that are known by words, learned from a few pictures of each with a frozen encoder",
    metrics=("accuracy", "base_accuracy", "new_accuracy", "harmonic_mean"),
    axis="images a class",
    passes=(
        "deixis.zoo.starter",
        "deixis.zoo.desk_clip",
        "deixis.data.knowledge.senses",
        "deixis.data.knowledge.sources",
        "deixis.data.knowledge.texts",
        "deixis.data.knowledge.wordnet",
    ),
)

_TEST, _VALIDATION = 0.35, 0.15


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task `concepts`.

    Attributes:
        sets: that must be in the cache; results are averaged over them.
        shots: images a class.
        model: the frozen encoder, such as `desk-clip` or `starter`.
        tasks: sets of classes, disjoint, that a seed draws of each set of data.
        classes: of each; 0: one task of all classes.
        knowledge: where texts are from, see `data.knowledge`; only classes that have one are drawn.
        texts: `own`, or `exchanged` between the classes, the control.
        exchanged: measures of halves are the mean of a draw and of the same with its halves exchanged.
        least: images below which a class is left out.
        cells: compute the cells of images, for arms that read them.
    """

    sets: tuple[str, ...] = ("emoji-styles/concepts",)
    shots: tuple[int, ...] = (1, 3)
    model: str = "desk-clip"
    tasks: int = 3
    classes: int = 24
    knowledge: str = "wordnet"
    texts: str = "own"
    exchanged: bool = True
    least: int = 6
    cells: bool = False


@dataclasses.dataclass(frozen=True)
class DescribedTask(FewShotTask):
    """Sets of classes, and their texts for the methods that read any.

    Attributes:
        knowledge: of the classes of all benches.
    """

    knowledge: Knowledge = dataclasses.field(default_factory=lambda: Knowledge({}, ""))

    def _learned(
        self,
        bench: FewShotBenchmark,
        method: str,
        settings: Mapping[str, Any],
        k: int,
        tested: Sequence[tuple[Sequence[int], Sequence[str]]],
    ) -> TrialScores:
        if takes(method, "knowledge"):
            names = class_names(sorted({name for _, among in tested for name in among}))
            settings = {**settings, **knowledge_settings(method, self.knowledge, names)}
        return super()._learned(bench, method, settings, k, tested)


def make(options: Options, seed: int) -> DescribedTask:
    """Makes the task.

    Args:
        options: see `Options`.
        seed: of the classes, the draws, and which text goes to which class.

    Raises:
        DeixisError: an option is out of range, a set or WordNet is not in the cache, or too few classes have a text.
    """
    require_least(options, tasks=1, least=2)
    if len(options.shots) < 2 or list(options.shots) != sorted(set(options.shots)):
        raise DeixisError(f"shots is {options.shots}.", "Give at least two numbers, ascending.")
    if options.texts not in ("own", "exchanged"):  # a claim's options are not checked by their types
        raise DeixisError(f"texts is {options.texts!r}.", "They are own or exchanged.")
    sources = [_large(labelled(catalogue.read(name)), options.least) for name in options.sets]
    encoder = zoo.load(options.model)
    benches, texts = list[FewShotBenchmark](), dict[str, tuple[str, ...]]()
    for source in sources:
        whole = _with_cells(bench_of(encoder, source), source) if options.cells else bench_of(encoder, source)
        names = class_names(two_sided(whole.data, parts(whole.data, 0, _TEST, _VALIDATION)))
        known, _ = knowledge_of(options.knowledge, encoder, names)
        chosen = _class_sets([name for name in names if name in known.texts], names, options, seed)
        benches += [only(whole, each) for each in chosen]
        texts |= {name: known.texts[name] for each in chosen for name in each if name in known.texts}
    knowledge = Knowledge(texts, options.knowledge)
    if options.texts == "exchanged":
        knowledge = exchanged(knowledge, sorted(texts), seed)
    return DescribedTask(tuple(benches), options.shots, seed, options.exchanged, knowledge)


def _with_cells(bench: FewShotBenchmark, source: Source) -> FewShotBenchmark:
    """With the cells of its images, from the store where they are there."""
    return dataclasses.replace(bench, cells=image_cells(bench.encoder, [each.picture for each in source.samples]))


def _large(source: Source, least: int) -> Source:
    """The classes with enough images, under the names that texts give them."""
    labels = [str(sample.label) for sample in source.samples]
    samples = [each for each in source.samples if labels.count(str(each.label)) >= least]
    return dataclasses.replace(source, samples=tuple(samples))


def _class_sets(known: Sequence[str], names: Sequence[str], options: Options, seed: int) -> list[tuple[str, ...]]:
    """Disjoint sets of classes that have a text; or all classes."""
    if not options.classes:
        return [tuple(names)]
    if len(known) < options.tasks * options.classes:
        raise DeixisError(
            f"{len(known)} classes have a text, and {options.tasks} sets of {options.classes} were requested.",
            "Request fewer.",
        )
    mixed = sorted(known)
    random.Random(seed).shuffle(mixed)
    starts = range(0, options.tasks * options.classes, options.classes)
    return [tuple(sorted(mixed[start : start + options.classes])) for start in starts]


def only(bench: FewShotBenchmark, names: Sequence[str]) -> FewShotBenchmark:
    """The images of some classes.

    Args:
        bench: of these and other classes.
        names: of the classes.
    """
    data, wanted = bench.data, set(names)
    kept = [i for i, label in enumerate(data.labels) if class_names([label])[0] in wanted]
    labels = tuple(class_names([data.labels[i]])[0] for i in kept)
    index = torch.tensor(kept, dtype=torch.long)
    return dataclasses.replace(
        bench,
        data=Labelled(
            tuple(data.ids[i] for i in kept),
            labels,
            tuple(data.groups[i] for i in kept),
            tuple(data.sides[i] for i in kept),
            tuple(data.styles[i] for i in kept),
        ),
        embedding=bench.embedding[index],
        features=bench.features[index],
        cells=None if bench.cells is None else bench.cells[index],
    )
