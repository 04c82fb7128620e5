"""How often `deixis adapt` says the same of the same pictures, keeps what is no gain, and how true its interval is.

A unit is a set, a size, a kind and a seed, and becomes one row of `results/verdict_stability.jsonl`:

* `sample`: another sample of the set for each seed. The interval is compared with the gain of the same adapters on the
  rest of the set, in galleries as large as the held-out parts.
* `fixed`: the same sample for all seeds; the seeds differ in divisions and training.
* `shuffled`: the samples of `sample`, with captions dealt out at random by concept. What is kept is kept wrongly.

Units that have a row are left out, so that a run that was stopped goes on. Small ones come first.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bench.rows import RESULTS, environment
from deixis import zoo
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check_and_read, drop_unlabelled, embed_pairs
from deixis.data import catalogue
from deixis.data.splits import concept_groups
from deixis.engine.adaptation.adapt import AdaptationArm, AdaptationPlan, run
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.evaluate import TEST_STATISTIC, measure_retrieval
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import recipe_for
from deixis.engine.adaptation.verdict import judge
from deixis.engine.features.store import FeatureTable
from deixis.files import cache_dir
from deixis.nn.frozen import freeze
from deixis.ops.stats import Interval
from deixis.types import Source

__all__ = ["KINDS", "SETS", "SIZES", "main", "units"]

SETS = ("stamps", "art4apps", "clipart", "photographs", "gcompris")
SIZES = (60, 120, 250, 500)
KINDS = ("sample", "shuffled", "fixed")
METHOD, DIVISIONS, TRAIN = "residual", 20, 0.6
MEASURES = ("mean_mrr", "mean_r10", TEST_STATISTIC)
_MOST, _GALLERIES, _ADAPTERS = 1800, 8, 10


class Unit(NamedTuple):
    """One run of the experiment."""

    set: str
    size: int
    kind: str
    seed: int


class Collection(NamedTuple):
    """Cached features of a set, and the concept of each sample."""

    table: FeatureTable
    groups: tuple[int, ...]

    def take(self, index: Sequence[int]) -> Collection:
        """The samples at `index`."""
        return Collection(self.table.take(index), tuple(self.groups[i] for i in index))


def units(seeds: int, sets: Sequence[str], sizes: Sequence[int], kinds: Sequence[str] = KINDS) -> Iterator[Unit]:
    """All units, a few seeds of each size at a time, so that a run that is stopped has something of everything."""
    for first in range(0, seeds, 5):
        for size, seed, name, kind in itertools.product(sizes, range(first, min(seeds, first + 5)), sets, kinds):
            yield Unit(name, size, kind, seed)


def source_of(name: str) -> Source:
    """A set as captioned images; `photographs` are those of GCompris with few words: their title or their name."""
    if name != "photographs":
        return dataclasses.replace(catalogue.read(name), kind="captions")
    described, labelled = catalogue.read("gcompris"), catalogue.read("gcompris/labels")
    titled = [dataclasses.replace(each, captions=each.captions[:1]) for each in described.samples]
    named = [dataclasses.replace(each, captions=(_words(each.id),), label=None) for each in labelled.samples]
    return dataclasses.replace(described, name=name, samples=(*titled, *named))


def _words(path: str) -> str:
    """A file name as words: `fishes/clownFish2.webp` is `clown fish`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", re.sub(r"\d+", "", Path(path).stem)).lower().strip()


def collection(name: str) -> Collection:
    """The features of a set, or of at most 1800 of its samples, encoded once."""
    path = cache_dir("verdict-stability") / f"{name}.pt"
    if not path.is_file():
        source, encoder, talk = source_of(name), freeze(zoo.load("starter")), Reporter(True)
        kept = sorted(np.random.default_rng(0).permutation(len(source.samples))[:_MOST].tolist())
        source = dataclasses.replace(source, samples=tuple(source.samples[i] for i in kept))
        checked = drop_unlabelled(check_and_read(source, talk, encoder), talk)
        table = embed_pairs(encoder, checked, talk, mirrored=True)
        groups = tuple(concept_groups(checked.source.samples, checked.report.same))
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save((dataclasses.asdict(table), groups), path)
    values, groups = torch.load(path, weights_only=True)
    return Collection(FeatureTable(**values), tuple(groups))


def sample(groups: Sequence[int], size: int, seed: int) -> list[int]:
    """Whole concepts in random order, until there are `size` samples."""
    concepts = np.asarray(groups)
    chosen: list[int] = []
    for concept in np.random.default_rng(seed).permutation(np.unique(concepts)):
        members = np.flatnonzero(concepts == concept).tolist()
        if len(chosen) + len(members) <= size:
            chosen += members
    return sorted(chosen)


def galleries(groups: Sequence[int], rest: Sequence[int], size: int, seed: int) -> list[list[int]]:
    """The rest of a set, by whole concepts, in galleries of about `size` samples."""
    concepts = np.asarray(groups)
    found: list[list[int]] = [[]]
    for concept in np.random.default_rng(seed).permutation(np.unique(concepts[list(rest)])):
        if len(found[-1]) >= size:
            found.append([])
        found[-1] += np.flatnonzero(concepts == concept).tolist()
    return [each for each in found if len(each) >= 0.8 * size][:_GALLERIES]


def gain_on(
    rest: Sequence[FeatureTable], arm: AdaptationArm, metrics: Sequence[str]
) -> dict[str, tuple[float, float]] | None:
    """Metric -> the mean gain over galleries and adapters, and its standard error over galleries; None without any."""
    if len(rest) < 2:
        return None
    means = []
    for table in rest:
        before = measure_retrieval(table, (None, None))
        after = [measure_retrieval(table, result.adapters) for result in arm.results[:_ADAPTERS]]
        means.append([np.mean([each[name].mean() for each in after]) - before[name].mean() for name in metrics])
    values = np.array(means)
    errors = values.std(axis=0, ddof=1) / len(values) ** 0.5
    return {name: (float(m), float(e)) for name, m, e in zip(metrics, values.mean(axis=0), errors, strict=True)}


def measure(unit: Unit, whole: Collection, encoder: Any) -> dict[str, Any] | None:
    """The row of a unit; None where the set is too small for it."""
    drawn = sample(whole.groups, unit.size, 0 if unit.kind == "fixed" else 1000 + unit.seed)
    if len(drawn) < 0.9 * unit.size:
        return None
    start = time.process_time()
    table, groups = whole.take(drawn)
    splits = divide(groups, unit.seed, DIVISIONS, TRAIN)
    experiment = Experiment(encoder, table, groups, splits, measure_retrieval, "mean_mrr", unit.seed)
    plan = AdaptationPlan(*recipe_for(METHOD), shuffled=unit.kind == "shuffled")
    arm = run(experiment, plan)
    smallest = min(len(split.test) for split in splits)
    metric = "text_to_image_r10" if smallest >= 100 else "text_to_image_r5" if smallest >= 40 else "text_to_image_r1"
    verdict = judge(arm, metric)
    metrics = tuple(dict.fromkeys((metric, *MEASURES)))
    rest = sorted(set(range(len(whole.groups))).difference(drawn))
    size = round(float(np.mean([len(split.test) for split in splits])))
    tables = [whole.table.take(each) for each in galleries(whole.groups, rest, size, unit.seed)]
    assert arm.final is not None
    corrected = arm.corrected()
    return {
        **unit._asdict(),
        "samples": len(drawn),
        "concepts": len(set(groups)),
        "outcome": verdict.outcome,
        "borderline": verdict.borderline,
        "steps": arm.final.steps,
        "strength": arm.final.strength,
        "metric": metric,
        "evidence": _rounded(verdict.evidence),
        "monte_carlo_error": [round(each, 5) for each in verdict.error],
        "gain": {name: _rounded(arm.gain(name)) for name in metrics},
        "over_concepts": {name: _rounded(arm.evidence(name)) for name in metrics},
        "corrected_t": {name: _rounded(corrected[name]) for name in metrics},
        "rest": gain_on(tables, arm, metrics) if unit.kind == "sample" else None,
        "seconds": round(time.process_time() - start, 1),
    }


def _rounded(interval: Interval) -> list[float]:
    return [round(each, 5) for each in interval]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures what has no row yet, until the time is up."""
    parser = argparse.ArgumentParser(prog="python -m bench.verdict_stability", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("verdict_stability.jsonl"), help="for rows")
    parser.add_argument("--seeds", type=int, default=20, help="of each set, size and kind")
    parser.add_argument("--sets", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no unit begins later")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    done = set()
    with contextlib.suppress(FileNotFoundError):
        rows = [json.loads(line) for line in given.results.read_text(encoding="utf-8").splitlines()]
        done = {Unit(*(row[name] for name in Unit._fields)) for row in rows}
    encoder, end = freeze(zoo.load("starter")), time.monotonic() + 60 * given.minutes
    whole = {name: collection(name) for name in given.sets}
    for unit in units(given.seeds, given.sets, given.sizes, given.kinds):
        if unit in done or time.monotonic() > end:
            continue
        row = measure(unit, whole[unit.set], encoder)
        if row is None:
            continue
        with open(given.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **environment(1)}) + "\n")
        print(*unit, row["outcome"], "borderline" if row["borderline"] else "", f"{row['seconds']} s", flush=True)


if __name__ == "__main__":
    main()
