"""What `auto` should choose from: `python -m bench.auto_rows`, rows of `results/auto.jsonl`.

A method joins the list where, with it, `auto` names more validation images rightly on one model, the interval over
seeds lying above 0, and not fewer on the other; and where choosing and learning ten classes of 16 images takes less
than ten seconds. Images are those of the claims' task `few_shot`, 16 of each class; the part that is reported on is
asked, too, and decides nothing.

What `auto` does is done here in full, cross-validation included. A method that trains by steps is learned anew from
each fold. Methods that read cells or texts of classes are left out: nobody has these unless asked for.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch

from bench.rows import ROOT, environment
from deixis.data.splits import folds
from deixis.engine.claims.tasks.few_shot import Options, make
from deixis.engine.fewshot import few_shot, learners
from deixis.engine.fewshot.benchmark import FewShotBenchmark
from deixis.engine.fewshot.draws import draw, parts, two_sided
from deixis.engine.fewshot.names import class_names
from deixis.engine.fewshot.shots import Shots
from deixis.methods import read
from deixis.ops.stats import t_interval

__all__ = ["MODELS", "RESULTS", "Tried", "cross_validated", "gains", "main", "outsiders", "tried"]

RESULTS = ROOT / "results" / "auto.jsonl"
MODELS = ("starter", "desk-clip")
SHOTS, CLASSES, SECONDS, _FOLDS = 16, 10, 10.0, 5
_TEST, _VALIDATION = 0.35, 0.15


class Tried(NamedTuple):
    """What `auto` comes to in one draw of a set, without and with a method.

    Attributes:
        before: shares of the validation images and of those reported on that are named rightly.
        after: the same with the method on the list.
        chosen: whether it was then chosen.
    """

    before: tuple[float, float]
    after: tuple[float, float]
    chosen: bool


def outsiders() -> list[str]:
    """Methods that learn classes from what every image has, and that `auto` does not choose from."""
    needed = {"image_embedding", "image_features", "labels"}
    on_list = learners.candidates()
    return [
        name
        for name in learners.offered()
        if name not in on_list
        and {need.name for need in read(name).card.needs} <= needed
        and not learners.takes(name, "knowledge")
    ]


def cross_validated(method: str, bench: FewShotBenchmark, names: Sequence[str], shots: Shots, seed: int) -> float:
    """The share of images that a method names rightly when it has learned from those of other folds.

    Args:
        method: by name.
        bench: of which the images are.
        names: the classes.
        shots: images to learn from.
        seed: of the folds and the method.
    """
    called = class_names(names)
    if read(method).card.kind != "trained":
        with mock.patch.object(few_shot, "candidates", return_value=[method]):
            return few_shot.choose(bench.encoder, called, shots, seed=seed).accuracy[method]
    labels = [str(label) for label in shots.labels.tolist()]
    right = 0
    for part in folds(list(shots.groups), _FOLDS, seed, labels=labels):
        learned = few_shot.learn(method, bench.encoder, called, shots.take(part.train), seed=seed)
        held = shots.take(part.test)
        found = few_shot.logits(learned, held.embedding, held.features)
        right += int((found.argmax(dim=1) == held.labels).sum())
    return right / len(shots)


def tried(bench: FewShotBenchmark, methods: Sequence[str], seed: int) -> dict[str, Tried]:
    """One draw of a set.

    Args:
        bench: the set.
        methods: that are not on the list.
        seed: of the draw and of all that is learned.
    """
    made = parts(bench.data, 0, _TEST, _VALIDATION)
    names = two_sided(bench.data, made)
    drawn = draw(bench.data, made.train, names, (SHOTS,), seed)[SHOTS]
    shots = bench.shots(drawn, names)
    pick = few_shot.choose(bench.encoder, class_names(names), shots, seed=seed)

    def right(method: str) -> tuple[float, float]:
        asked = [(bench.data.where(among, names), names) for among in (made.validation, made.test)]
        validation, test = bench.evaluate(method, {}, drawn, names, asked, seed).right
        return float(validation.mean()), float(test.mean())

    before, best, found = right(pick.method), max(pick.accuracy.values(), default=1.0), {}
    for method in methods:
        chosen = cross_validated(method, bench, names, shots, seed) > best
        found[method] = Tried(before, right(method) if chosen else before, chosen)
    return found


def gains(found: Sequence[Sequence[Tried]]) -> dict[str, Any]:
    """How many more of 100 images `auto` names rightly, means over sets, intervals over seeds.

    Args:
        found: for each seed, one a set.
    """
    after, before = (np.array([[getattr(each, side) for each in row] for row in found]) for side in ("after", "before"))
    validation, test = 100 * (after - before).mean(axis=1).T
    gain, reported = t_interval(validation), t_interval(test)
    return {
        "gain": round(gain.value, 2),
        "low": round(gain.low, 2),
        "high": round(gain.high, 2),
        "reported_gain": round(reported.value, 2),
        "reported_low": round(reported.low, 2),
        "reported_high": round(reported.high, 2),
        "chosen": round(float(np.mean([each.chosen for row in found for each in row])), 3),
    }


def _seconds(bench: FewShotBenchmark, method: str) -> float:
    """To choose and to learn ten classes of 16 images; the processor's."""
    made = parts(bench.data, 0, _TEST, _VALIDATION)
    names = two_sided(bench.data, made)[:CLASSES]
    shots = bench.shots(draw(bench.data, made.train, names, (SHOTS,), 0)[SHOTS], names)
    start = time.process_time()
    few_shot.learn(method, bench.encoder, class_names(names), shots)
    once = time.process_time() - start
    if once * (1 + _FOLDS) > 3 * SECONDS:
        return once * (1 + _FOLDS)
    start = time.process_time()
    cross_validated(method, bench, names, shots, 0)
    return once + time.process_time() - start


def _rows(model: str, seeds: int) -> Iterator[Mapping[str, Any]]:
    task = make(Options(model=model, shots=(1, SHOTS)), 0)
    seconds = {method: _seconds(task.benches[1], method) for method in outsiders()}
    quick = [method for method, each in seconds.items() if each < SECONDS]
    found = [[tried(bench, quick, seed) for bench in task.benches] for seed in range(seeds)]
    for method, each in seconds.items():
        told = gains([[one[method] for one in row] for row in found]) if method in quick else {}
        yield {"model": model, "method": method, "seconds": round(each, 2), "seeds": seeds, **told}


def main(arguments: Sequence[str] | None = None) -> None:
    """Appends a row a model and method."""
    parser = argparse.ArgumentParser(prog="python -m bench.auto_rows", description=str(__doc__).splitlines()[0])
    parser.add_argument("--seeds", type=int, default=8, help="draws (default 8)")
    parser.add_argument("--models", nargs="*", default=MODELS, help="frozen encoders")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for model in chosen.models:
        for row in _rows(model, chosen.seeds):
            with open(chosen.results, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, **environment(1)}) + "\n")
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
