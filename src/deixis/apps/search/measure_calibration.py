"""Measures how likely search results are right, when a run or an index is made.

`deixis.apps.search.calibration` reads it back.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from deixis.apps.common.dataset import texts
from deixis.apps.search.calibration import FILE, FORMAT, STALE, is_stale, read_calibration
from deixis.data.splits import concept_groups, normalise
from deixis.engine.adaptation.adapt import AdaptationArm, SplitResult
from deixis.engine.adaptation.evaluate import Adapters, apply
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.select import Choice
from deixis.engine.evaluation.calibration import Calibration
from deixis.engine.evaluation.calibration_fit import MIN_CONCEPTS, CalibrationResult, LabelledQueries, ask, fit
from deixis.files import write_json
from deixis.indexing.index import Index
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval
from deixis.types import Sample, Source

__all__ = ["as_result", "make_stale", "measure_again", "of_index", "of_run", "write_calibration", "write_for_index"]

_QUERIES, _PICTURES, _DIVISIONS = 1000, 20_000, 5  # more move no figure by its interval, and cost minutes


def of_run(experiment: Experiment, arm: AdaptationArm, final: Choice) -> CalibrationResult | None:
    """From the splits of an adaptation: texts of concepts that the model of a split was not trained on, or for labels
    of classes whose pictures it was not. None where they are too few.

    Where the original was retained, it is the model that is measured, on everything, as it was trained on none of it.

    Args:
        experiment: data and splits.
        arm: the models of the splits.
        final: whether the original was retained.
    """
    everything = tuple(range(len(experiment.table)))
    if final.strength == 0:
        return _fitted([_asked(experiment, (None, None), everything, everything)], None)
    labels = experiment.metric == "accuracy"
    parts = [_held_out(experiment, each, everything, labels) for each in arm.results[:_DIVISIONS]]
    # Of classes, a part of the pictures holds as large a share as the whole does.
    return _fitted(parts, len(everything) if labels else None)


def _held_out(
    experiment: Experiment, result: SplitResult, everything: tuple[int, ...], labels: bool
) -> LabelledQueries:
    """The searches of one split. Pictures that were trained on are further wrong answers, as they are for a query about
    something new; not for labels, whose texts were trained on with them, nor for towers, which would have to read them
    once more."""
    whole = not labels and isinstance(result.adapters, tuple)
    return _asked(experiment, result.adapters, result.queries, everything if whole else result.queries)


def _fitted(parts: Sequence[LabelledQueries], count: int | None) -> CalibrationResult | None:
    some = [each for each in parts if len(each)]
    return fit(LabelledQueries.join(some), count) if some else None


def _asked(
    experiment: Experiment, adapters: Adapters, queries: Sequence[int], gallery: Sequence[int]
) -> LabelledQueries:
    """The distinct texts of samples as queries over the pictures of others.

    Args:
        experiment: data.
        adapters: of the model.
        queries: samples whose texts are the queries.
        gallery: samples whose pictures are searched; the others are among them.
    """
    table = experiment.table.take(gallery)
    image, text = (each.numpy() for each in apply(table, adapters))
    labels = experiment.metric == "accuracy"
    concepts = table.keys.numpy() if labels else np.array([experiment.groups[i] for i in gallery])
    place = {sample: row for row, sample in enumerate(gallery)}
    first = {int(table.keys[place[i]]): place[i] for i in reversed(queries)}
    rows = np.array(sorted(first.values()))
    some, pictures = _some(concepts[rows], concepts)
    return ask(text[rows[some]], image[pictures], concepts[rows[some]], concepts[pictures])


def _some(
    of_queries: Int[np.ndarray, " Q"], concepts: Int[np.ndarray, " N"]
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " M"]]:
    """Which queries search which pictures: at most `_QUERIES`, and some `_PICTURES` with all of the queries'
    concepts among them."""
    rng = np.random.default_rng(0)
    queries = np.sort(rng.permutation(len(of_queries))[:_QUERIES])
    own = np.isin(concepts, of_queries[queries])
    share = (_PICTURES - own.sum()) / max(1, (~own).sum())
    return queries, np.flatnonzero(own | (rng.random(len(concepts)) < share))


def of_index(
    encoder: DualEncoder,
    vectors: Float[np.ndarray, "N D"],
    source: Source,
    hashes: Sequence[str],
    seen: Bool[np.ndarray, " N"] | None = None,
) -> CalibrationResult | None:
    """From the captions or labels of a collection: each distinct caption, or each class, is a search. None where there
    are too few of them.

    Args:
        encoder: the model that made the vectors.
        vectors: of the pictures, in the order of the samples.
        source: the samples.
        hashes: of the contents of their pictures; what is equal shows the same thing.
        seen: samples that the model may have been trained on; what shows or says the same is no query.
    """
    labels = source.kind == "labels"
    usable = [i for i, s in enumerate(source.samples) if (s.label if labels else s.captions)]
    samples = [source.samples[i] for i in usable]
    concepts = np.array(_numbered([s.label for s in samples]) if labels else _concepts(samples, usable, hashes), int)
    known = set() if seen is None else set(concepts[seen[usable]].tolist())
    words = texts(dataclasses.replace(source, samples=tuple(samples)))
    first = {text: i for i, text in reversed(list(enumerate(words)))}
    rows = np.array(sorted(i for i in first.values() if concepts[i] not in known), int)
    if not len(rows):
        return None
    some, pictures = _some(concepts[rows], concepts)
    queries = np.asarray(encoder.encode_text([words[i] for i in rows[some]]).detach().cpu())
    gallery = np.asarray(vectors[np.array(usable)[pictures]], dtype=np.float32)
    return _fitted([ask(queries, gallery, concepts[rows[some]], concepts[pictures])], None)


def _concepts(samples: Sequence[Sample], usable: Sequence[int], hashes: Sequence[str]) -> list[int]:
    """The concept of each sample; copies of a picture are of one."""
    copies: dict[int, list[int]] = {}
    for place, number in enumerate(_numbered([hashes[i] for i in usable])):
        copies.setdefault(number, []).append(place)
    return concept_groups(samples, list(copies.values()))


def _numbered(names: Sequence[str | None]) -> list[int]:
    numbers: dict[str | None, int] = {}
    return [numbers.setdefault(name, len(numbers)) for name in names]


def write_for_index(
    folder: Path,
    model: str | Path,
    encoder: DualEncoder,
    vectors: Float[np.ndarray, "N D"],
    source: Source,
    hashes: Sequence[str],
) -> str:
    """Measures and writes what an index is searched with, where that can be had.

    By a model that a run adapted, nothing is a query that the run may have trained on. Where most of the run's pictures
    are in the index, which is then its own collection, grown, what the run measured holds: it is taken over.

    Args:
        folder: the index folder that is being written.
        model: the name or folder of the model.
        encoder: the model.
        vectors: of the pictures, in the order of the samples.
        source: the samples.
        hashes: of the contents of their pictures.

    Returns:
        A remark for the user, where there is one.
    """
    if not encoder.reads_text:
        return ""  # words can't be searched for
    if encoder.traits.similarity == "tokens":
        return "How likely results are right is not measured: the model compares token by token, not by embeddings."
    fingerprint, run, seen = encoder.fingerprint(), _run_of(Path(model)), None
    if run is not None and _trained(run / "model"):
        known = _Known.of(run)
        if known is None:
            return "How likely results are right is not measured: what the model was trained on is not known."
        if known.mostly_in(hashes):
            calibration = read_calibration(run, fingerprint)
            _write(folder, calibration, fingerprint)
            return "" if calibration is None else "How likely results are right is what the model's run measured."
        seen = known.mask(source, hashes)
    if source.kind == "images":
        return ""
    measured = of_index(encoder, vectors, source, hashes, seen)
    write_calibration(folder, measured, fingerprint)
    return "" if measured else f"How likely results are right is {as_result(None)}."


class _Known(NamedTuple):
    """What a run holds, and may have trained on."""

    hashes: frozenset[str]
    captions: frozenset[str]
    labels: frozenset[str]

    @classmethod
    def of(cls, run: Path) -> _Known | None:
        """What lies in the run's index; None where that is not all that it trained on."""
        if not (run / "result.json").is_file() or not (run / "index").is_dir():
            return None
        items = [item for _, item in Index.open(run / "index", verify=False).items()]
        trained = json.loads((run / "result.json").read_text(encoding="utf-8"))["data"]["images"]
        if len(items) < trained or not all("hash" in item for item in items):
            return None
        return cls(
            frozenset(str(item["hash"]) for item in items),
            frozenset(normalise(caption) for item in items for caption in item["captions"]),
            frozenset(str(item["label"]) for item in items if item["label"]),
        )

    def mostly_in(self, hashes: Sequence[str]) -> bool:
        """Whether at least half of the pictures are among those of `hashes`."""
        return 2 * len(self.hashes & set(hashes)) >= len(self.hashes)

    def mask(self, source: Source, hashes: Sequence[str]) -> Bool[np.ndarray, " N"]:
        """Which samples show or say what is held here."""
        return np.array(
            [
                digest in self.hashes
                or sample.label in self.labels
                or any(normalise(caption) in self.captions for caption in sample.captions)
                for sample, digest in zip(source.samples, hashes, strict=True)
            ]
        )


def _run_of(model: Path) -> Path | None:
    """The run or index folder that a model folder belongs to; None where it is no such."""
    places = (model, model.parent)
    return next((each for each in places if (each / "model" / "config.json").is_file()), None)


def _trained(folder: Path) -> bool:
    """Whether a model folder holds anything but the model it stands on."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return "whole" in config or config["fingerprint"] != config["base_fingerprint"]


def write_calibration(folder: Path, measured: CalibrationResult | None, fingerprint: str) -> None:
    """Writes what search reads; nothing where nothing was measured."""
    _write(folder, None if measured is None else measured.calibration, fingerprint)


def _write(folder: Path, calibration: Calibration | None, fingerprint: str) -> None:
    if calibration is not None:
        write_json(folder / FILE, {"format": FORMAT, "model": fingerprint, **calibration.to_dict()})


def make_stale(run: Path) -> None:
    """Marks what was measured, where something was, as no longer holding. Done before another collection is taken in,
    so that an update that is killed behind that is known to owe `measure_again`.

    Args:
        run: the folder that holds the index.
    """
    if (run / FILE).is_file():
        write_json(run / FILE, dict(STALE))


def measure_again(run: Path, encoder: DualEncoder, index: Index) -> str:
    """Measures what an index is searched with once more, on all that it holds, where `make_stale` marked it: a
    calibration does not travel, so that it ends where another collection is taken in. By a model that was trained
    nothing can be measured here, since what it was trained on may be in the index; what was measured before is taken
    back.

    Args:
        run: the folder that holds the index and its model.
        encoder: the model.
        index: as it is now.

    Returns:
        A remark for the user, where there is one.
    """
    if not is_stale(run):
        return ""
    if _trained(run / "model"):
        (run / FILE).unlink()
        return "How likely results are right was measured without this data, and is no longer reported."
    rows, items = zip(*index.items(), strict=True)
    samples = tuple(
        Sample(str(item["id"]), Path(item["path"]), tuple(item["captions"]), item["label"]) for item in items
    )
    kind = "captions" if any(sample.captions for sample in samples) else "labels"
    source = Source(run.name, run, kind, "an index", samples)
    vectors, hashes = np.asarray(index.vectors)[list(rows)], [str(item["hash"]) for item in items]
    remark = write_for_index(run, run / "model", encoder, vectors, source, hashes)
    if is_stale(run):  # nothing can be measured of what the index holds now
        (run / FILE).unlink()
    return remark


def as_result(measured: CalibrationResult | None) -> dict[str, Any] | str:
    """The part `relevance` of `result.json`."""
    if measured is None:
        return f"not measured: searches for {MIN_CONCEPTS} different things are needed"
    presence, used = measured.presence, measured.presence.worth
    always = {"false_answers": Interval(1.0, 1.0, 1.0), "misses": Interval(0.0, 0.0, 0.0)}
    tried = {"false_answers": presence.false_answers, "misses": presence.misses}
    return {
        "queries": measured.queries,
        "concepts": measured.concepts,
        "matched": measured.matched,
        "curve": "logistic" if measured.calibration.curve is None else "isotonic",
        "log_loss": dict(measured.log_loss),
        "brier": measured.brier,
        "brier_of_the_mean": measured.matched * (1 - measured.matched),
        "ece": measured.error,
        "points": [each._asdict() for each in measured.points],
        "says_nothing_matches": used,
        "threshold": presence.threshold if used else 0.0,
        **{name: value._asdict() for name, value in (tried if used else always).items()},
        "tried": {
            "rule": presence.rule,
            "threshold": presence.threshold,
            **{name: value._asdict() for name, value in tried.items()},
            "auc": presence.auc,
        },
    }
