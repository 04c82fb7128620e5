"""The few-shot protocols on anybody's images: every method learns the same draws and is tested on the same images.

Nothing is chosen by what is reported: methods that choose settings do so within the images they learn from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deixis.data.knowledge.texts import read_texts
from deixis.engine.evaluation.data import EvalData, EvalSet
from deixis.engine.evaluation.model import EvalModel
from deixis.engine.evaluation.options import EvalOptions
from deixis.engine.evaluation.output import Column, EvalOutput, EvalReporter, QueryValues
from deixis.engine.features.cells import image_cells
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark, classifies_new
from deixis.engine.fewshot.cost import SLOW
from deixis.engine.fewshot.draws import Labelled
from deixis.engine.fewshot.knowledge import knowledge_of, knowledge_settings, readers, without_texts
from deixis.engine.fewshot.means import Spread, spread
from deixis.engine.fewshot.names import class_names
from deixis.engine.fewshot.plans import FewShotPlan, plan
from deixis.engine.fewshot.recipe import ShotRecipe, fingerprint
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder

__all__ = ["FewShotJob", "ProtocolResult", "ProtocolRow", "measure", "prepare"]


@dataclasses.dataclass(frozen=True)
class FewShotJob:
    """Draws and test questions, the same for all models.

    Attributes:
        data: the labelled images.
        known: what is known of them besides their pixels.
        plan: parts, draws and questions.
        methods: that are compared.
        knowledge: where texts of the classes are from, for the methods that read any; empty: there are none.
    """

    data: EvalSet
    known: Labelled
    plan: FewShotPlan
    methods: tuple[str, ...]
    knowledge: str = ""


@dataclasses.dataclass(frozen=True)
class ProtocolRow:
    """One method, draw and question.

    Attributes:
        recipe: hash of the recipe.
        method: its name.
        shots: images a class (K).
        seed: of the draw.
        asked: the name of the test.
        classes: to choose among.
        images: that were tested.
        accuracy: share of right answers.
        seconds: of learning.
    """

    recipe: str
    method: str
    shots: int
    seed: int
    asked: str
    classes: int
    images: int
    accuracy: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class ProtocolResult:
    """All that a protocol found.

    Attributes:
        name: of the data.
        plan: draws and test questions.
        recipe: what it hangs on.
        rows: the results.
        right: (method, K, question) -> right answers of each image, averaged over the draws.
        data: the images.
    """

    name: str
    plan: FewShotPlan
    recipe: ShotRecipe
    rows: Sequence[ProtocolRow]
    right: Mapping[tuple[str, int, str], NDArray[np.float64]]
    data: Labelled

    @property
    def methods(self) -> list[str]:
        """In the order in which they were tested."""
        return list(self.recipe.methods)

    def values(self, method: str, shots: int, asked: str) -> list[float]:
        """Accuracies, one a draw."""
        wanted = (method, shots, asked)
        return [row.accuracy for row in self.rows if (row.method, row.shots, row.asked) == wanted]

    def spread(self, method: str, shots: int, asked: str) -> Spread:
        """Their mean and interval over draws."""
        return spread(self.values(method, shots, asked))

    @property
    def columns(self) -> list[tuple[str, int, str]]:
        """The columns reported of each method: a heading, K and the question."""
        if self.plan.protocol == "few-shot":
            return [(str(k), k, "test") for k in self.recipe.shots]
        return [(test.name, self.recipe.shots[-1], test.name) for test in self.plan.tests]


def prepare(
    protocol: str, methods: Sequence[str], data: EvalData, options: EvalOptions, talk: EvalReporter
) -> FewShotJob:
    """Plans a protocol.

    Args:
        protocol: its name, see `plans.plan`.
        methods: that are compared where the options name none.
        data: with a class for each image.
        options: methods, shots, seeds, limit, style and knowledge.
        talk: receives progress and messages.

    Raises:
        DeixisError: the data or a method can't do this; raised before a model is loaded.
    """
    chosen = _methods(protocol, options.methods or methods)
    knowledge = _checked_knowledge(protocol, chosen, options.knowledge, talk)
    every = data.labelled(options.limit, talk.say)
    known = every.labelled()
    made = plan(protocol, known, options.shots, options.seeds, options.style)
    class_names(made.classes)
    for note in made.notes:
        talk.say(note)
    return FewShotJob(every, known, made, chosen, knowledge)


def _checked_knowledge(protocol: str, methods: Sequence[str], knowledge: str, talk: EvalReporter) -> str:
    """Where texts are from, if a method reads any; what is missing or in vain is said."""
    if not knowledge:
        for note in without_texts(methods):
            talk.say(note)
        return ""
    if not readers(methods):  # other protocols of the same command may read it
        talk.say(f"{protocol}: none of {', '.join(methods)} reads texts of classes, and {knowledge} has no say.")
        return ""
    if knowledge.lower().endswith(".csv"):
        read_texts(Path(knowledge))  # before a model is loaded
    return knowledge


def measure(job: FewShotJob, model: EvalModel, talk: EvalReporter) -> EvalOutput:
    """Learns every draw by every method on a model's features; one value a question, the mean over the draws."""
    encoder = model.require_encoder()
    settings, notes = _texts(job, encoder)
    for note in notes:
        talk.say(note)
    names = class_names(job.plan.names)
    read = any(few_shot.reads_cells(method, encoder, names, own) for method, own in settings.items())
    cells = image_cells(encoder, job.data.pictures) if read else None
    bench = FewShotBenchmark(encoder, job.known, *model.states(job.data, talk), cells)
    recipe = _recipe(job, bench, settings)
    _tell_time(bench, job.plan, settings, talk)
    rows, right = _ask(bench, job.plan, settings, recipe.hash, talk)
    result = ProtocolResult(job.data.source.name, job.plan, recipe, rows, right, job.known)
    tests, arms = {test.name: test for test in job.plan.tests}, dict[str, dict[Column, QueryValues]]()
    for (method, k, asked), values in right.items():
        images = tests[asked].images
        queries = tuple(job.known.ids[i] for i in images)
        condition = str(k) if len(tests) == 1 else asked
        clusters = np.array([job.known.groups[i] for i in images])
        arms.setdefault(method, {})[Column("accuracy", condition)] = QueryValues(values, queries, clusters)
    return EvalOutput(arms, (*job.plan.notes, *notes), {"recipe": recipe.hash}, result)


def _texts(job: FewShotJob, encoder: DualEncoder) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The settings of each method, which are what it is told of the classes, new ones among them; and remarks."""
    settings: dict[str, dict[str, Any]] = {method: {} for method in job.methods}
    if not job.knowledge:
        return settings, []
    names = class_names(job.plan.classes)
    known, notes = knowledge_of(job.knowledge, encoder, names, job.data.source, job.plan.classes)
    return settings | {name: knowledge_settings(name, known, names) for name in readers(job.methods)}, notes


def _methods(protocol: str, methods: Sequence[str]) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys(methods))
    for name in methods:
        learners.require(name)
        if protocol == "base-to-new" and not classifies_new(name):
            able = ", ".join(filter(classifies_new, learners.offered()))
            raise DeixisError(f"{name} knows only the classes it was trained on, and no new ones.", f"Compare: {able}.")
    return methods


def _recipe(job: FewShotJob, bench: FewShotBenchmark, settings: Mapping[str, Mapping[str, Any]]) -> ShotRecipe:
    encoder, made = bench.encoder, job.plan
    lists = made.lists(bench.data)
    splits = {
        "parts": "by group (copies, near-copies, one concept), class by class; the same for all draws",
        "images": {"train": len(made.parts.train), "test": len(made.parts.test)},
        "asked": {test.name: {"classes": list(test.names), "images": len(test.images)} for test in made.tests},
        "lists": fingerprint(lists),
    }
    return ShotRecipe(
        protocol=made.protocol,
        data=job.data.source.name,
        data_fingerprint=job.data.fingerprint,
        classes=made.classes,
        splits=splits,
        shots=tuple(next(iter(made.draws.values()))),
        seeds=tuple(made.draws),
        model=encoder.name,
        model_fingerprint=encoder.fingerprint(),
        transform=f"one plain view, {encoder.preprocess}",
        methods={name: _settings(name, own) for name, own in settings.items()},
    )


def _settings(method: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """What a method runs with; penalties are chosen within the images that are learned from."""
    if method == learners.AUTO:
        return {"chosen among": tuple(learners.candidates()), "penalties": few_shot.PENALTIES}
    found = dataclasses.asdict(configure(method, overrides=own))
    for part in ("encoder", "names"):
        found.pop(part, None)
    if "penalty" in found:
        found["penalty"] = f"by cross-validation on the shots, of {few_shot.PENALTIES}"
    return found


def _tell_time(
    bench: FewShotBenchmark, made: FewShotPlan, settings: Mapping[str, Mapping[str, Any]], talk: EvalReporter
) -> None:
    """Says beforehand what takes long, from a step of each method with a few of the classes."""
    names, draws = class_names(made.names), next(iter(made.draws.values()))
    most = max(map(len, draws.values()))
    each = {name: few_shot.forecast(name, bench.encoder, names, most, own) for name, own in settings.items()}
    total = sum(each.values()) * len(draws) * len(made.draws)
    if total > SLOW:
        slowest = max(each, key=each.__getitem__)
        talk.say(
            f"Training will take up to {total / 60:.0f} minutes, most of it {slowest} ({each[slowest]:.0f} seconds, "
            f"{len(draws) * len(made.draws)} times). Fewer --shots, --seeds or --methods take less."
        )


def _ask(
    bench: FewShotBenchmark,
    made: FewShotPlan,
    settings: Mapping[str, Mapping[str, Any]],
    recipe: str,
    talk: EvalReporter,
) -> tuple[list[ProtocolRow], dict[tuple[str, int, str], NDArray[np.float64]]]:
    """One row a method, draw and question; and (method, K, question) -> right answers, averaged over the draws."""
    rows: list[ProtocolRow] = []
    answers: dict[tuple[str, int, str], list[NDArray[np.float64]]] = {}
    jobs = [(m, seed, k) for m in settings for seed, each in made.draws.items() for k in each]
    questions = [(test.images, test.names) for test in made.tests]
    with talk.step("learn"), talk.bar("learn and test") as bar:
        for done, (method, seed, k) in enumerate(jobs):
            bar(done, len(jobs))
            scores = bench.evaluate(method, settings[method], made.draws[seed][k], made.names, questions, seed)
            seconds = scores.seconds
            for test, right in zip(made.tests, scores.right, strict=True):
                answers.setdefault((method, k, test.name), []).append(right)
                shape = (len(test.names), len(test.images))
                rows.append(ProtocolRow(recipe, method, k, seed, test.name, *shape, float(right.mean()), seconds))
        bar(len(jobs), len(jobs))
    return rows, {key: np.mean(each, axis=0) for key, each in answers.items()}
