"""`deixis adapt` by a method that learns classes: a few images of each are learned from, the others tell what it
bought, and the classifier is left in the run folder."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import CheckedDataset, check_and_read, embed_plain
from deixis.apps.common.formatting import points
from deixis.apps.common.runs import Clock, free_name, run_folder, versions
from deixis.apps.common.sentences import in_points
from deixis.apps.few_shot.class_names import changes, estimate_cost, learned, model_of, names_of, unreadable_names
from deixis.apps.few_shot.classifier import FewShotClassifier
from deixis.apps.index.index import write_index
from deixis.apps.report import model_card
from deixis.apps.report.model_card import Subject
from deixis.data.splits import concept_groups
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.draws import Labelled, Parts, draw, parts, two_sided
from deixis.engine.fewshot.few_shot import Pick, Shots
from deixis.engine.training.batching import require_encoder
from deixis.engine.training.stages import name_of
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import Source

__all__ = ["learn_classes", "learns_classes"]

_FEWEST = 10
"""Images or groups that a share of right answers is told of."""


@dataclasses.dataclass(frozen=True)
class _Seen:
    """All images of a run, as the frozen model sees them, and what they are."""

    encoder: DualEncoder
    data: Labelled
    embedding: Float[Tensor, "N D"]
    features: Float[Tensor, "N F"]

    def shots(self, index: Sequence[int], names: Sequence[str]) -> Shots:
        i, place = torch.tensor(index), {name: number for number, name in enumerate(names)}
        labels = torch.tensor([place[self.data.labels[j]] for j in index])
        ids = tuple(self.data.ids[j] for j in index)
        groups = tuple(self.data.groups[j] for j in index)
        return Shots(ids, labels, self.embedding[i], self.features[i], groups)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One split: which images were learned from and asked about, and which of the latter were named rightly."""

    train: tuple[int, ...]
    shots: tuple[int, ...]
    test: tuple[int, ...]
    before: Bool[np.ndarray, " Q"]
    after: Bool[np.ndarray, " Q"]
    method: str
    choice: Pick | None


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
    free_name(out, overwrite)
    source = _labelled(source, method, talk)
    encoder = model_of(settings.model)
    collection = check_and_read(source, talk)
    source = collection.source
    labels = sorted({str(sample.label) for sample in source.samples})
    for note in unreadable_names(encoder, names_of(labels, {}), overrides):
        talk.say(note)
    seconds, warning = estimate_cost(method, encoder, labels, settings.shots * len(labels), overrides)
    if warning:
        talk.say(f"{warning} It is learned {settings.splits + 1} times: once a split, and at last from all images.")
    seen = _look(encoder, collection, talk)
    found = []
    with talk.step("learn"), talk.bar(f"{method}: splits") as bar:
        for index in range(settings.splits):
            found.append(_part(method, seen, settings, overrides, settings.seed + index, seconds))
            bar(index + 1, settings.splits)
    classifier = _final(encoder, source, settings, talk)
    result = _result(collection, seen, found, classifier, settings)
    with run_folder(out, overwrite) as folder:
        with talk.step("save"):
            classifier.write(folder)
            write_index(folder / "index", encoder, seen.embedding, source, collection.report.hashes)
            write_json(folder / "splits.json", [_told(part, seen.data) for part in found])
            write_json(folder / "check.json", collection.report.to_dict())
        stages = {name: round(value, 2) for name, value in talk.seconds.items()}
        result |= {"seconds": {**clock.read(), "stages": stages}, "peak_mb": clock.peak_mb()}
        write_json(folder / "result.json", result)
        card = Subject(encoder, out.name, result, licences=collection.report.licences)
        model_card.write(folder / "README.md", card)
    _tell(result, talk, out)
    return result


def _settled(method: str, settings: AdaptSettings) -> dict[str, Any]:
    """The settings of the method, when all others have been found to be possible."""
    if settings.layers:
        raise DeixisError(f"{method} trains no layers of the towers.", "Leave --layers out.")
    if settings.splits < 2:
        raise DeixisError(f"{settings.splits} split was asked for.", "Intervals need at least --splits 2.")
    if not 0 < settings.train < 1:
        raise DeixisError(f"A share of {settings.train} was asked for to train on.", "Give --train between 0 and 1.")
    if settings.seed < 0 or settings.shots < 1:
        raise DeixisError(f"--seed is {settings.seed} and --shots {settings.shots}.", "Give 0, and 1, or more.")
    return changes(method, settings.templates, None)


def _labelled(source: Source, method: str, talk: Reporter) -> Source:
    """The samples with a label."""
    kept = tuple(sample for sample in source.samples if sample.label)
    if not kept:
        what = "captions and no labels" if source.kind == "captions" else "no labels"
        raise DeixisError(
            f"{source.root} holds {what}, and {method} learns classes.",
            "Put the images into a folder for each class, or name the column that holds the classes with "
            "--label-column; captions are learned from by --method residual.",
        )
    deep = [sample.id for sample in kept if _is_nested(sample.id, str(sample.label))]
    if deep:
        talk.say(
            f"{len(deep)} images lie in folders below those of the classes, such as {deep[0]}: they are of the class "
            "above. For the finer classes, give the folder in which these lie."
        )
    bare = len(source.samples) - len(kept)
    if bare:
        talk.say(f"{bare} of {len(source.samples)} images have no label, and are left out.")
    sideless = tuple(dataclasses.replace(sample, split="") for sample in kept)  # sides are made anew, several times
    return dataclasses.replace(source, kind="labels", samples=sideless)


def _is_nested(name: str, label: str) -> bool:
    folders = name.split("/")[:-1]
    return label in folders[:-1]


def _look(encoder: DualEncoder, collection: CheckedDataset, talk: Reporter) -> _Seen:
    samples = collection.source.samples
    states = embed_plain(encoder, samples, collection.report.hashes, talk)
    silent = [dataclasses.replace(sample, captions=()) for sample in samples]
    groups = tuple(concept_groups(silent, collection.report.same))
    if len(set(groups)) < _FEWEST:
        raise DeixisError(
            f"{len(samples)} images show {len(set(groups))} different things: too few to learn from some and be asked "
            f"about others.",
            f"Give {_FEWEST} or more; `deixis.FewShotClassifier` learns from fewer, and proves nothing.",
        )
    data = Labelled(tuple(sample.id for sample in samples), tuple(str(sample.label) for sample in samples), groups)
    return _Seen(encoder, data, states.embedding, states.features)


def _part(
    method: str, seen: _Seen, settings: AdaptSettings, overrides: dict[str, Any], seed: int, seconds: float
) -> _Part:
    """Learns from a few images of one side of a split, and asks about the other side."""
    encoder = seen.encoder
    made: Parts = parts(seen.data, seed, 1 - settings.train)
    labels = two_sided(seen.data, made)
    names = names_of(labels, {})
    few = draw(seen.data, made.train, labels, [settings.shots], seed)[settings.shots]
    test = seen.data.where(made.test, labels)
    shots, asked = seen.shots(few, labels), seen.shots(test, labels)
    untaught = learners.candidates()[0]
    plain = few_shot.learn(untaught, encoder, names, shots, overrides=learners.settings_of(untaught, overrides))
    choice = few_shot.choose(encoder, names, shots, overrides=overrides, seed=seed) if method == learners.AUTO else None
    name = method if choice is None else choice.method
    after = learned(name, encoder, names, shots, learners.settings_of(name, overrides), seed, seconds)
    right = [
        (few_shot.logits(each, asked.embedding, asked.features).argmax(dim=1) == asked.labels).numpy()
        for each in (plain, after)
    ]
    return _Part(made.train, few, test, right[0], right[1], name, choice)


def _final(encoder: DualEncoder, source: Source, settings: AdaptSettings, talk: Reporter) -> FewShotClassifier:
    """Learned from a draw among all images."""
    classifier = FewShotClassifier(
        encoder, settings.method, settings.shots, settings.seed, settings.templates or ("a photo of a {}.",)
    )
    with talk.step("refit"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        classifier.fit(source)
    for note in classifier.notes_:
        talk.say(note)
    return classifier


def _result(
    collection: CheckedDataset,
    seen: _Seen,
    found: Sequence[_Part],
    classifier: FewShotClassifier,
    settings: AdaptSettings,
) -> dict[str, Any]:
    source, encoder = collection.source, require_encoder(classifier.method_)
    before, after = (
        np.concatenate([getattr(part, name) for part in found]).astype(float) for name in ("before", "after")
    )
    queries = [i for part in found for i in part.test]
    groups = np.array([seen.data.groups[i] for i in queries])
    measures = {
        name: cluster_bootstrap(values, groups)
        for name, values in (("before", before), ("after", after), ("difference", after - before))
    }
    final = classifier.choice_
    result: dict[str, Any] = {
        "format": 1,
        "kind": "classes",
        "data": {
            "path": str(source.root),
            "name": source.name,
            "images": len(source.samples),
            "classes": len(classifier.classes_),
            "groups": len(set(seen.data.groups)),
            "fingerprint": collection.report.fingerprint,
            "skipped": [dataclasses.asdict(item) for item in source.skipped],
        },
        "split": {
            "scheme": "image groups, every class on both sides",
            "count": len(found),
            "train": settings.train,
            "seeds": list(range(settings.seed, settings.seed + len(found))),
        },
        "model": {"name": settings.model, "fingerprint": encoder.fingerprint(), "licence": encoder.licence},
        "method": {
            "asked": settings.method,
            "shots": settings.shots,
            "templates": list(settings.templates),
            "chosen": [_chosen(part.method, part.choice) for part in found],
            "final": _chosen(name_of(classifier.method_), final),
        },
        "seed": settings.seed,
        **{name: {"accuracy": dict(each._asdict())} for name, each in measures.items()},
        "per_split": [{"before": float(part.before.mean()), "after": float(part.after.mean())} for part in found],
        "per_class": _per_class([seen.data.labels[i] for i in queries], before, after),
        "notes": classifier.notes_,
        "versions": versions(),
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
    told = f"Of 100 images that were not learned from, the class names alone tell {before} rightly, and {after} after "
    told += f"{method} saw at most {shots} of each class"
    if gain.low > 0:
        return f"{told}."
    return f"{told}: no proven gain." if gain.high >= 0 else f"{told}: worse than the names alone."


def _told(part: _Part, data: Labelled) -> dict[str, Any]:
    """A split as JSON holds it: indices as of all images, and the draw by id."""
    return {"train": list(part.train), "test": list(part.test), "shots": [data.ids[i] for i in part.shots]}


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
