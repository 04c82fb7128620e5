"""`deixis adapt` by a method that learns classes: a few images of each are learned from, the others tell what it
bought, and the classifier is left in the run folder."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from deixis.apps.adapt import results
from deixis.apps.adapt.settings import AdaptSettings, check_splits, with_splits
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset, check_and_read, embed_plain
from deixis.apps.common.formatting import points
from deixis.apps.common.runs import Clock, free_name, run_folder
from deixis.apps.common.sentences import in_points
from deixis.apps.few_shot.classifier import FewShotClassifier
from deixis.apps.few_shot.classifier_inputs import model_of
from deixis.apps.index.index import write_index
from deixis.data.class_folders import with_folder_labels
from deixis.data.splits import concept_groups
from deixis.engine.adaptation.divisions import division_seed
from deixis.engine.features.cells import image_cells
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark, TrialScores
from deixis.engine.fewshot.cost import estimate_cost
from deixis.engine.fewshot.draws import Labelled
from deixis.engine.fewshot.few_shot import Pick
from deixis.engine.fewshot.knowledge import require_reader, settings_by_texts
from deixis.engine.fewshot.names import class_names, unreadable_names
from deixis.engine.fewshot.plans import FewShotPlan, few_shot_plan
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import Source
from deixis.zoo.training_images import write_training_images

__all__ = ["learn_classes", "learns_classes"]

_FEWEST = 10
"""Images or groups below which no share of right answers is reported."""


class _Split(NamedTuple):
    """One split: training and test images, by the class names alone and by the method."""

    plan: FewShotPlan
    shots: tuple[int, ...]
    before: TrialScores
    after: TrialScores


def learns_classes(method: str) -> str:
    """The method's name, if it learns classes from labelled images; else an empty string."""
    name = method.replace("-", "_")
    return name if name in (*learners.offered(), learners.AUTO) else ""


def learn_classes(
    source: Source, out: str | Path, settings: AdaptSettings, *, overwrite: bool = False, quiet: bool = False
) -> dict[str, Any]:
    """Learns the classes of DATA from a few images of each, and writes a run folder: classifier, index, `result.json`.

    Args:
        source: with labels.
        out: the run folder; it appears under its name only when all is done.
        settings: model, method, shots, splits, seed.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: there are no labels, too few images, or what the method says of the classes.
    """
    out, talk, clock, method = Path(out), Reporter(quiet), Clock(), learns_classes(settings.method)
    overrides = _settled(method, settings)
    settings = with_splits(settings, slow=True)
    _reservation = free_name(out, overwrite)
    source = _labelled(with_folder_labels(source), method, talk)
    encoder = model_of(settings.model)
    collection = check_and_read(source, talk)
    source = collection.source
    labels = sorted({str(sample.label) for sample in source.samples})
    names = class_names(labels, least=2)
    notes = unreadable_names(encoder, names, overrides)
    texts, more = settings_by_texts(method, settings.knowledge, encoder, names, source, labels)
    overrides |= texts
    for note in (*notes, *more):
        talk.say(note)
    seconds, warning = estimate_cost(method, encoder, labels, settings.shots * len(labels), overrides)
    if warning:
        talk.say(f"{warning} It is trained {settings.splits + 1} times: once per split, and finally on all images.")
    cells = few_shot.reads_cells(method, encoder, names, overrides)
    bench = _bench(encoder, collection, cells, talk)
    found = []
    with talk.step("learn"), talk.bar(f"{method}: splits") as bar:
        for index in range(settings.splits):
            found.append(_split(method, bench, settings, overrides, division_seed(settings.seed, index), seconds))
            bar(index + 1, settings.splits)
    classifier = _final(encoder, source, settings, talk)
    result = _result(collection, bench.data, found, classifier, settings)
    with run_folder(out, overwrite) as folder:
        with talk.step("save"):
            classifier.write(folder)
            write_index(folder / "index", encoder, bench.embedding, source, collection.report.hashes, talk=talk)
            learned = set(classifier.shots_)
            hashes = zip(source.samples, collection.report.hashes, strict=True)
            write_training_images(folder, [digest for sample, digest in hashes if sample.id in learned])
            write_json(folder / "splits.json", [_indices(each, bench.data) for each in found])
        results.write(folder, result, encoder, out.name, collection, talk, clock)
    _tell(result, talk, out)
    return result


def _settled(method: str, settings: AdaptSettings) -> dict[str, Any]:
    """The settings of the method, when all others have been found to be possible."""
    if settings.layers:
        raise DeixisError(f"{method} trains no layers of the towers.", "Leave --layers out.")
    check_splits(settings)
    if settings.knowledge:
        require_reader(method)
    if settings.shots < 1:
        raise DeixisError(f"--shots {settings.shots} images of each class were requested.", "Give 1 or more.")
    return learners.changed_settings(method, settings.templates, None)


def _labelled(source: Source, method: str, talk: Reporter) -> Source:
    """The samples with a label."""
    labelled = tuple(sample for sample in source.samples if sample.label)
    if not labelled:
        what = "captions and no labels" if source.kind == "captions" else "no labels"
        raise DeixisError(
            f"{source.root} holds {what}, and {method} learns classes.",
            "Put the images into a folder for each class, or name the column that holds the classes with "
            "--label-column; for captions use --method residual.",
        )
    deep = [sample.id for sample in labelled if _is_nested(sample.id, str(sample.label))]
    if deep:
        talk.say(
            f"Images in sub-folders of class folders ({len(deep)}, such as {deep[0]}) count to the class "
            "above. For the finer classes, give the folder in which these lie."
        )
    bare = len(source.samples) - len(labelled)
    if bare:
        talk.say(f"{bare} of {len(source.samples)} images have no label, and are left out.")
    sideless = tuple(dataclasses.replace(sample, split="") for sample in labelled)  # sides are made anew, several times
    return dataclasses.replace(source, kind="labels", samples=sideless)


def _is_nested(name: str, label: str) -> bool:
    folders = name.split("/")[:-1]
    return label in folders[:-1]


def _bench(encoder: DualEncoder, collection: CheckedDataset, with_cells: bool, talk: Reporter) -> FewShotBenchmark:
    """All images, as the frozen model encodes them, with their cells where the method reads them."""
    samples = collection.source.samples
    states = embed_plain(encoder, samples, collection.report.hashes, talk)
    groups = concept_groups(samples, collection.report.same, captions=False)
    if len(set(groups)) < _FEWEST:
        raise DeixisError(
            f"{len(samples)} images show {len(set(groups))} different objects: too few to train on some and test "
            "on others.",
            f"Give {_FEWEST} or more; `deixis.FewShotClassifier` trains on fewer, without a measurement.",
        )
    cells = image_cells(encoder, collection.pictures) if with_cells else None
    return FewShotBenchmark(encoder, Labelled.of(samples, groups), states.embedding, states.features, cells)


def _split(
    method: str,
    bench: FewShotBenchmark,
    settings: AdaptSettings,
    overrides: dict[str, Any],
    seed: int,
    seconds: float,
) -> _Split:
    """Learns from a few images of one side of a split, and tests on the other side."""
    made = few_shot_plan(bench.data, (settings.shots,), (seed,), split_seed=seed, test=1 - settings.train)
    few, questions = made.draws[seed][settings.shots], [(test.images, test.names) for test in made.tests]
    plain = learners.candidates()[0]
    before = bench.evaluate(plain, learners.settings_of(plain, overrides), few, made.names, questions, seed)
    after = bench.evaluate(method, overrides, few, made.names, questions, seed, forecast=seconds)
    return _Split(made, few, before, after)


def _final(encoder: DualEncoder, source: Source, settings: AdaptSettings, talk: Reporter) -> FewShotClassifier:
    """Learned from a draw among all images."""
    classifier = FewShotClassifier(
        encoder,
        settings.method,
        settings.shots,
        settings.seed,
        settings.templates or ("a photo of a {}.",),
        knowledge=settings.knowledge or None,
    )
    with talk.step("refit", "train on all images"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(source)
    for note in classifier.notes_:
        talk.say(note)
    return classifier


def _result(
    collection: CheckedDataset,
    data: Labelled,
    found: Sequence[_Split],
    classifier: FewShotClassifier,
    settings: AdaptSettings,
) -> dict[str, Any]:
    encoder = require_encoder(classifier.method_)
    before, after = (np.concatenate([getattr(each, which).right[0] for each in found]) for which in ("before", "after"))
    queries = [i for each in found for i in each.plan.tests[0].images]
    groups = np.array([data.groups[i] for i in queries])
    measures = {
        name: cluster_bootstrap(values, groups)
        for name, values in (("before", before), ("after", after), ("difference", after - before))
    }
    final = classifier.choice_
    result = results.facts(collection, data.groups, settings, encoder)
    result["data"]["classes"] = len(classifier.classes_)
    result |= {
        "kind": "classes",
        "method": {
            "asked": settings.method,
            "shots": settings.shots,
            "templates": list(settings.templates),
            **({"knowledge": settings.knowledge} if settings.knowledge else {}),
            "chosen": [_chosen(each.after.method, each.after.choice) for each in found],
            "final": _chosen(name_of(classifier.method_), final),
        },
        **{name: {"accuracy": dict(each._asdict())} for name, each in measures.items()},
        "per_split": [
            {which: float(getattr(each, which).right[0].mean()) for which in ("before", "after")} for each in found
        ],
        "per_class": _per_class([data.labels[i] for i in queries], before, after),
        "notes": classifier.notes_,
    }
    result["sentence"] = _sentence(result, measures["difference"])
    return result


def _chosen(method: str, choice: Pick | None) -> dict[str, Any]:
    return {"method": method, **({} if choice is None else {"why": choice.why, "accuracy": dict(choice.accuracy)})}


def _per_class(
    labels: Sequence[str], before: Float[np.ndarray, " Q"], after: Float[np.ndarray, " Q"]
) -> dict[str, dict[str, float]]:
    """Class -> share of its images that are named rightly, over all splits, and how many answers that rests on."""
    own, found = np.array(labels), {}
    for label in sorted(set(labels)):
        mask = own == label
        found[label] = {"before": before[mask].mean(), "after": after[mask].mean(), "answers": int(mask.sum())}
    return found


def _sentence(result: dict[str, Any], gain: Interval) -> str:
    method, shots = result["method"]["final"]["method"], result["method"]["shots"]
    before, after = (points(result[name]["accuracy"]["value"], 0) for name in ("before", "after"))
    sentence = (
        f"Of 100 images that were not trained on, {before} are classified correctly by class names alone, and {after} "
    )
    sentence += f"by {method} with at most {shots} training images per class"
    if gain.low > 0:
        return f"{sentence}."
    return f"{sentence}: no proven gain." if gain.high >= 0 else f"{sentence}: worse than the names alone."


def _indices(each: _Split, data: Labelled) -> dict[str, Any]:
    """A split as JSON holds it: indices as of all images, and the draw by id."""
    train = list(each.plan.parts.train)
    return {"train": train, "test": list(each.plan.tests[0].images), "shots": [data.ids[i] for i in each.shots]}


def _tell(result: dict[str, Any], talk: Reporter, out: Path) -> None:
    talk.result(result["sentence"])
    values = [points(result[name]["accuracy"]["value"]) for name in ("before", "after")]
    data, chosen = result["data"], result["method"]["chosen"]
    talk.table(
        f"{data['name']}: {data['images']} images, {data['classes']} classes, {result['split']['count']} splits",
        ("images named rightly, of 100", "before", "after", "difference [95 %]"),
        [("held out", *values, in_points(result["difference"]["accuracy"]))],
    )
    if result["method"]["final"].get("why"):
        picked = ", ".join(dict.fromkeys(each["method"] for each in chosen))
        talk.result(f"Chosen: {result['method']['final']['why']} In the splits: {picked}.")
    talk.result(f"Classifier: deixis.load_classifier({str(out)!r}).predict([...])")
    talk.result(f'Search: deixis search {out} "words"   or a picture in place of words')
