"""The few-shot protocols on anybody's images: few-shot curves, base-to-new classes, transfer across styles."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset, check_and_read, embed_plain
from deixis.apps.eval.protocol_tables import ProtocolResult, ProtocolRow, write
from deixis.apps.eval.settings import EvalSettings
from deixis.data.splits import concept_groups
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark, class_names, labelled, style_of, tells_new
from deixis.engine.fewshot.draws import Labelled, limited
from deixis.engine.fewshot.plans import FewShotPlan, plan
from deixis.engine.fewshot.recipe import ShotRecipe, fingerprint
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.methods import read
from deixis.types import Source

__all__ = ["METHODS", "run"]

METHODS: Mapping[str, tuple[str, ...]] = {
    "few-shot": ("zero_shot", "linear", "tip", "delta", "coop"),
    "base-to-new": ("zero_shot", "coop", "pre"),
    "cross-style": ("zero_shot", "linear", "delta", "coop"),
}
"""Protocol -> the methods that are compared where none are named."""


_LONG = 60
"""Seconds of learning above which a forecast is told."""


def run(source: Source, settings: EvalSettings, folder: Path, talk: Reporter) -> Mapping[str, Any]:
    """Runs a few-shot protocol: every method learns the same draws and is asked the same questions.

    Nothing is chosen by what is reported: methods that choose settings do so within the images they learn from.

    Args:
        source: with a class for each image.
        settings: protocol, model, methods, shots and seeds.
        folder: gets `recipe.json`, `shots.json` (the parts and draws), `rows.jsonl`, the tables and the plot.
        talk: is told what happens.

    Returns:
        Averages with intervals, for `result.json`.

    Raises:
        DeixisError: the data or a method can't do this; told before anything is encoded or learned.
    """
    methods = _methods(settings)
    source = _limited(labelled(source), settings.limit, talk)
    collection = check_and_read(source, talk)
    data = _known(collection)
    made = plan(settings.protocol, data, settings.shots, settings.seeds, settings.style)
    class_names(made.classes)
    for note in made.notes:
        talk.say(note)
    encoder = zoo.load(settings.model)
    states = embed_plain(encoder, collection.source.samples, collection.report.hashes, talk)
    bench = FewShotBenchmark(encoder, data, states.embedding, states.features)
    recipe = _recipe(collection, made, bench, methods)
    _tell_time(bench, made, methods, talk)
    rows, right = _ask(bench, made, methods, recipe.hash, talk)
    write_json(folder / "recipe.json", recipe.to_dict())
    write_json(folder / "shots.json", made.lists(data))
    text = "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")
    return write(ProtocolResult(source.name, made, recipe, rows, right, data), folder, talk)


def _methods(settings: EvalSettings) -> tuple[str, ...]:
    methods = tuple(dict.fromkeys(settings.methods)) or METHODS[settings.protocol]
    known = [*learners.offered(), learners.AUTO]
    for name in methods:
        if name not in known:
            read(name) if name != learners.AUTO else None
            raise DeixisError(f"{name} learns no classes from images.", f"These do: {', '.join(known)}.")
        if settings.protocol == "base-to-new" and not tells_new(name):
            able = ", ".join(each for each in known if tells_new(each))
            raise DeixisError(f"{name} knows the classes it has seen images of, and no new ones.", f"Compare: {able}.")
    return methods


def _limited(source: Source, limit: int, talk: Reporter) -> Source:
    kept = limited([str(s.label) for s in source.samples], limit, [s.split for s in source.samples])
    if len(kept) == len(source.samples):
        return source
    talk.say(f"{len(kept)} of {len(source.samples)} images are used, nearly equally many of each class.")
    return dataclasses.replace(source, samples=tuple(source.samples[i] for i in kept))


def _known(collection: CheckedDataset) -> Labelled:
    samples = collection.source.samples
    return Labelled(
        ids=tuple(sample.id for sample in samples),
        labels=tuple(str(sample.label) for sample in samples),
        groups=tuple(concept_groups(samples, collection.report.same)),
        sides=tuple(sample.split for sample in samples),
        styles=tuple(style_of(sample) for sample in samples),
    )


def _recipe(
    collection: CheckedDataset, made: FewShotPlan, bench: FewShotBenchmark, methods: Sequence[str]
) -> ShotRecipe:
    encoder = bench.encoder
    lists = made.lists(bench.data)
    splits = {
        "parts": "by group (copies, near-copies, one concept), class by class; the same for all draws",
        "images": {"train": len(made.parts.train), "test": len(made.parts.test)},
        "asked": {ask.name: {"classes": list(ask.names), "images": len(ask.images)} for ask in made.asks},
        "lists": fingerprint(lists),
    }
    return ShotRecipe(
        protocol=made.protocol,
        data=collection.source.name,
        data_fingerprint=collection.report.fingerprint,
        classes=made.classes,
        splits=splits,
        shots=tuple(next(iter(made.draws.values()))),
        seeds=tuple(made.draws),
        model=encoder.name,
        model_fingerprint=encoder.fingerprint(),
        transform=f"one plain view, {encoder.preprocess}",
        methods={name: _settings(name) for name in methods},
    )


def _settings(method: str) -> dict[str, Any]:
    """What a method runs with; penalties are chosen within the images that are learned from."""
    if method == learners.AUTO:
        return {"chosen among": tuple(learners.candidates()), "penalties": few_shot.PENALTIES}
    found = dataclasses.asdict(configure(method))
    for part in ("encoder", "names"):
        found.pop(part, None)
    if "penalty" in found:
        found["penalty"] = f"by cross-validation on the shots, of {few_shot.PENALTIES}"
    return found


def _tell_time(bench: FewShotBenchmark, made: FewShotPlan, methods: Sequence[str], talk: Reporter) -> None:
    """Says beforehand what takes long, from a step of each method with a few of the classes."""
    names, draws = class_names(made.names), next(iter(made.draws.values()))
    most = max(map(len, draws.values()))
    each = {name: few_shot.forecast(name, bench.encoder, names, most) for name in methods}
    total = sum(each.values()) * len(draws) * len(made.draws)
    if total > _LONG:
        slowest = max(each, key=each.__getitem__)
        talk.say(
            f"Learning will take up to {total / 60:.0f} minutes, most of it {slowest} ({each[slowest]:.0f} seconds, "
            f"{len(draws) * len(made.draws)} times). Fewer --shots, --seeds or --methods take less."
        )


def _ask(
    bench: FewShotBenchmark, made: FewShotPlan, methods: Sequence[str], recipe: str, talk: Reporter
) -> tuple[list[ProtocolRow], dict[tuple[str, int, str], NDArray[np.float64]]]:
    """One row a method, draw and question; and (method, K, question) -> right answers, averaged over the draws."""
    rows: list[ProtocolRow] = []
    answers: dict[tuple[str, int, str], list[NDArray[np.float64]]] = {}
    jobs = [(m, seed, k) for m in methods for seed, each in made.draws.items() for k in each]
    questions = [(ask.images, ask.names) for ask in made.asks]
    with talk.step("learn"), talk.bar("learn and ask") as bar:
        for done, (method, seed, k) in enumerate(jobs):
            bar(done, len(jobs))
            asked = bench.ask(method, {}, made.draws[seed][k], made.names, questions, seed)
            for ask, right in zip(made.asks, asked.right, strict=True):
                answers.setdefault((method, k, ask.name), []).append(right)
                shape = (len(ask.names), len(ask.images))
                rows.append(ProtocolRow(recipe, method, k, seed, ask.name, *shape, float(right.mean()), asked.seconds))
        bar(len(jobs), len(jobs))
    return rows, {key: np.mean(each, axis=0) for key, each in answers.items()}
