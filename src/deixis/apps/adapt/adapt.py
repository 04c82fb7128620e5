"""The main job: adapt a model to one's own images, prove on held-out concepts what it bought, leave a run folder."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deixis import zoo
from deixis.apps.adapt import results
from deixis.apps.adapt.decision import decide, headline_metric
from deixis.apps.adapt.drafts import read_accepted
from deixis.apps.adapt.examples import gallery
from deixis.apps.adapt.offer import offer_model
from deixis.apps.adapt.settings import AdaptSettings, check_splits, overrides, with_splits
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset, check_and_read, drop_unlabelled, embed_pairs, texts
from deixis.apps.common.formatting import counted
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import Clock, free_name, run_folder
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.index.index import write_index
from deixis.apps.report.report import render
from deixis.apps.search.measure_calibration import as_result, of_run, write_calibration
from deixis.data import catalogue
from deixis.data.datasets.sources.cache import finished
from deixis.data.loading.sides import may_mirror, mirror_notes
from deixis.data.splits import concept_groups
from deixis.engine.adaptation import adapt as experiments
from deixis.engine.adaptation.adapt import AdaptationArm, AdaptationPlan
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.evaluate import (
    Adapters,
    Measure,
    Values,
    apply,
    class_rows,
    measure_labels,
    measure_retrieval,
)
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import adapts, recipe_for, trains_towers
from deixis.engine.adaptation.towers import ImageTextCache, prepared
from deixis.engine.evaluation.calibration_fit import CalibrationResult
from deixis.engine.features.store import FeatureTable
from deixis.engine.training.build import configure
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.methods import list_methods
from deixis.methods import read as read_method
from deixis.nn.dual import DualEncoder
from deixis.nn.frozen import freeze
from deixis.ops.stats import Interval
from deixis.types import Source
from deixis.types.html import html_lines
from deixis.zoo.training_images import seen_sentence, write_training_images

__all__ = [
    "GUARDS",
    "AdaptResult",
    "ExtraMeasurements",
    "OutOfDomainSet",
    "adapt",
    "controls",
    "out_of_domain_sets",
    "prepare",
]

GUARDS = ("art4apps", "emoji")

_CONTROL = 10
"""Divisions of the control of shuffled captions: that there is no gain at all takes fewer than how large one is."""


def controls(settings: AdaptSettings) -> dict[str, AdaptationPlan]:
    """Captions dealt out at random (not where towers are trained: twice the time), and a mere shift of all images."""
    shuffled = AdaptationPlan(*recipe_for(settings.method, overrides(settings)), shuffled=True, divisions=_CONTROL)
    return {
        **({} if trains_towers(settings.method) else {"shuffled captions": shuffled}),
        "mean shift": AdaptationPlan(*recipe_for("mean_shift")),
    }


@dataclasses.dataclass(frozen=True)
class OutOfDomainSet:
    """Material outside DATA on which nothing should be forgotten.

    Attributes:
        name: for tables.
        source: captioned images.
    """

    name: str
    source: Source


@dataclasses.dataclass(frozen=True)
class ExtraMeasurements:
    """What is measured beside the data itself.

    Attributes:
        outside: sets on which nothing should be forgotten.
        slices: name -> [B] booleans over the samples of the data, measured apart.
        plans: further arms.
    """

    outside: Sequence[OutOfDomainSet] = ()
    slices: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    plans: Mapping[str, AdaptationPlan] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class AdaptResult:
    """A finished run.

    Attributes:
        folder: where it lies.
        result: what stands in `result.json`.
        encoder: the model that was kept, adapted or original.
        arms: the arm that reports, and the controls.
        experiment: data, splits and measure.
        masks: the slices, over the samples that could be read.
        adapters: what was kept, fitted on all pairs.
        relevance: how likely results of a search are right; None where there is too little to measure it.
    """

    folder: Path
    result: Mapping[str, Any]
    encoder: DualEncoder
    arms: Mapping[str, AdaptationArm]
    experiment: Experiment
    masks: Mapping[str, np.ndarray]
    adapters: Adapters
    relevance: CalibrationResult | None

    def __repr__(self) -> str:
        return f"AdaptResult {str(self.folder)!r}: {self.result['sentence']}"

    def _repr_html_(self) -> str:
        return html_lines(
            str(self.result["sentence"]),
            f"Run: {self.folder}",
            f"Report: {self.folder / 'report.html'}",
            repr(self.encoder),
        )


@takes_settings(settings=AdaptSettings, reading=Reading)
def adapt(
    data: str | Source,
    out: str | Path = "deixis-run",
    settings: AdaptSettings | None = None,
    reading: Reading | None = None,
    *,
    beside: ExtraMeasurements | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> AdaptResult:
    """Adapts a model to DATA and writes a run folder: model, index, `result.json`, `report.html`.

    Args:
        data: what `deixis.apps.common.dataset.read` takes, or a source that was read already.
        out: the run folder; it appears under its name only when all is done.
        settings: model, method, splits, seed; each may also be given as a keyword, such as `splits=3`.
        reading: columns and the like, where they are not to be guessed.
        beside: what else is measured; without it, forgetting is, on sets that `deixis data get` has fetched.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Raises:
        DeixisError: DATA can't be read or holds too little to learn from, `out` is taken or can't be written.
    """
    settings, out, talk, clock = settings or AdaptSettings(), Path(out), Reporter(quiet), Clock()
    _check_settings(settings)
    settings = with_splits(settings, slow=trains_towers(settings.method))
    _reservation = free_name(out, overwrite)
    source = data if isinstance(data, Source) else read_accepted(data, reading, settings.accept, talk)
    offer_model(settings, talk)
    encoder = _original(settings.model)
    if trains_towers(settings.method):
        prepared(recipe_for(settings.method, overrides(settings))[0], encoder)  # refuses before images are looked at
    collection = check_and_read(source, talk, encoder)
    _check_learnable(collection)
    collection = drop_unlabelled(collection, talk)
    seen = seen_sentence(settings.model, collection.report.hashes)
    if seen:
        talk.say(seen)
    experiment = prepare(encoder, collection, settings, talk)
    beside = beside or ExtraMeasurements(out_of_domain_sets(source))
    others = {**controls(settings), **beside.plans} if settings.controls else {}
    plans = {settings.method: AdaptationPlan(*recipe_for(settings.method, overrides(settings))), **others}
    arms = _run_arms(experiment, plans, talk)
    forgotten = _forgotten(experiment, arms[settings.method], beside.outside, talk)
    with talk.step("judge"):
        decision = decide(experiment, plans, arms, headline_metric(experiment), forgotten)
    arms = decision.decided(arms)
    with talk.step("refit", "train on all pairs"):
        kept = experiments.refit(
            experiment, plans[settings.method].recipe, decision.final, experiment.table, settings.seed
        )
    masks = _kept_slices(beside.slices, source, collection)
    result = results.build(collection, experiment, arms, settings, decision, masks)
    with talk.step("relevance", "measure how sure results are"):
        measured = of_run(experiment, arms[settings.method], decision.final)
    result["relevance"] = as_result(measured)
    result["data"]["warnings"] = [seen] if seen else []
    adapted = encoder.with_adapters(*kept) if isinstance(kept, tuple) else kept.encoder()
    done = AdaptResult(out, result, adapted, arms, experiment, masks, kept, measured)
    with run_folder(out, overwrite) as folder:
        _write(folder, done, collection, talk, clock)
    results.tell(result, talk, out)
    return done


def _original(name: str) -> DualEncoder:
    encoder = zoo.load(name)
    encoder.require_embeddings("be adapted")
    if encoder.image_adapter is not None or encoder.text_adapter is not None:
        raise DeixisError(
            f"{name} has been adapted already, and adapters are not stacked.",
            f"Adapt the original model (--model {encoder.name}) to all your images together.",
        )
    return encoder


def out_of_domain_sets(source: Source) -> list[OutOfDomainSet]:
    """The guard sets that are in the cache, without the one that `source` is."""
    here = [catalogue.read(name) for name in GUARDS if finished(name)]
    return [OutOfDomainSet(each.name, each) for each in here if each.root != source.root]


def _check_settings(settings: AdaptSettings) -> None:
    offered = [name for name in list_methods() if adapts(name)]
    if settings.method not in offered:
        if "compare" in read_method(settings.method).card.capabilities:
            raise DeixisError(
                f"{settings.method} compares pictures with texts by scores of its own, and adapt proves a gain by "
                "embeddings, which its loss does not train.",
                f"Train it with `deixis train {settings.method}`, or adapt by one of {', '.join(offered)}.",
            )
        raise DeixisError(f"{settings.method} does not adapt a model.", f"These do: {', '.join(offered)}.")
    if settings.knowledge:
        raise DeixisError(f"{settings.method} reads no texts of classes.", "Leave --knowledge out.")
    if settings.layers and not trains_towers(settings.method):
        raise DeixisError(f"{settings.method} trains no layers of the towers.", "Leave --layers out.")
    configure(settings.method, "desk", overrides(settings))
    check_splits(settings)


def _check_learnable(collection: CheckedDataset) -> None:
    if collection.source.kind == "images":
        raise DeixisError(
            f"{collection.source.root} holds {counted(len(collection.source.samples), 'image')} and neither captions "
            "nor labels: there is nothing to learn from.",
            "Make it searchable with `deixis index`, or start a table of captions with `deixis label`.",
        )
    if collection.report.status == 2:
        raise DeixisError(collection.report.reason, collection.report.cure)


def prepare(encoder: DualEncoder, collection: CheckedDataset, settings: AdaptSettings, talk: Reporter) -> Experiment:
    """Encodes a collection, finds its concepts and splits it.

    Args:
        encoder: the original model; it is frozen here.
        collection: checked samples with captions or labels.
        settings: splits and seed.
        talk: where progress goes.
    """
    freeze(encoder)
    source = collection.source
    rows = embed_pairs(encoder, collection, talk, mirrored=True)
    sided = [number for number, sample in enumerate(source.samples) if not may_mirror(source, sample)]
    rows = rows.without_mirror(sided)
    for note in mirror_notes(source):
        talk.say(note)
    has_labels = source.kind == "labels"
    groups = concept_groups(source.samples, collection.report.same, captions=not has_labels)
    labels = [sample.label for sample in source.samples] if has_labels else None
    splits = divide(groups, settings.seed, settings.splits, settings.train, labels)
    metric = "accuracy" if has_labels else "mean_mrr"
    measure: Measure = _label_measure(rows) if has_labels else measure_retrieval
    talk.say(f"{len(rows)} pairs, {len(set(rows.keys.tolist()))} captions, {len(set(groups))} concept groups")
    library = None
    if trains_towers(settings.method):
        library = ImageTextCache(encoder, mirrors=not source.shows_text)
        library.add(rows.ids, collection.pictures, texts(source))
    return Experiment(encoder, rows, groups, splits, measure, metric, settings.seed, library)


def _label_measure(rows: FeatureTable) -> Measure:
    classes = class_rows(rows)

    def measure(part: FeatureTable, adapters: Adapters) -> Values:
        return measure_labels(classes, part, adapters)

    return measure


def _run_arms(experiment: Experiment, plans: Mapping[str, AdaptationPlan], talk: Reporter) -> dict[str, AdaptationArm]:
    """All plans, the first being the one that reports."""
    arms: dict[str, AdaptationArm] = {}
    for name, plan in plans.items():
        total = len(experiment.splits[: plan.divisions])
        with talk.step("controls" if arms else "adapt"), talk.bar(f"{name}: divisions") as bar:
            bar(0, total)
            arms[name] = experiments.run(experiment, plan, functools.partial(_tick, bar, total))
    return arms


def _tick(bar: Callable[[int, int], None], total: int, index: int) -> None:
    bar(index + 1, total)


def _kept_slices(slices: Mapping[str, np.ndarray], source: Source, collection: CheckedDataset) -> dict[str, np.ndarray]:
    """Slices over the samples that could be read."""
    kept = {sample.id for sample in collection.source.samples}
    index = [i for i, sample in enumerate(source.samples) if sample.id in kept]
    return {name: mask[index] for name, mask in slices.items()}


def _forgotten(
    experiment: Experiment, arm: AdaptationArm, outside: Sequence[OutOfDomainSet], talk: Reporter
) -> dict[str, dict[str, Interval]]:
    """Set outside -> metric -> difference to the original."""
    found, encoder = dict[str, dict[str, Interval]](), experiment.encoder
    for each in outside:
        collection = drop_unlabelled(check_and_read(each.source, talk), talk)
        rows = embed_pairs(encoder, collection, talk, mirrored=False, prefix=f"{each.name}: ")
        if experiment.library is not None:
            experiment.library.add(rows.ids, collection.pictures, texts(collection.source))
        groups = concept_groups(collection.source.samples, collection.report.same)
        with talk.step("forgotten"):
            found[each.name] = experiments.forgotten(arm, measure_retrieval, rows, groups)
    return found


def _write(folder: Path, done: AdaptResult, collection: CheckedDataset, talk: Reporter, clock: Clock) -> None:
    """All files of the run, `result.json` and the report last."""
    result, arm = dict(done.result), next(iter(done.arms.values()))
    with talk.step("save", "write the run"):
        zoo.save(done.encoder, folder / "model")
        if done.result["kept"] == "adapted":
            write_training_images(folder, collection.report.hashes)
        vectors, _ = apply(done.experiment.table, done.adapters)
        write_index(folder / "index", done.encoder, vectors, collection.source, collection.report.hashes, talk=talk)
        write_calibration(folder, done.relevance, done.encoder.fingerprint())
        write_json(folder / "splits.json", [each.to_dict() for each in done.experiment.splits])
        for index, each in enumerate(results.per_split(result, arm, done.experiment)):
            (folder / f"split-{index}").mkdir()
            write_json(folder / f"split-{index}" / "result.json", each)
    results.write(folder, result, done.encoder, done.folder.name, collection, talk, clock)
    render(result, gallery(arm, done.experiment, collection.source), folder / "report.html", run=done.folder)
