"""How the dropout of the residual adapter is chosen: by divisions over concepts, on drawings.

The pictures are the sets `emoji` and `art4apps`, which the demo does not adapt to, and of each of three splits only the
training part, divided again. Chosen is the value with the highest gain in log rank, summed over both sets. (The rows of
before 2026-12 were measured with two folds in place of divisions.)
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import torch

from bench.rows import RESULTS, environment
from deixis import zoo
from deixis.apps.adapt.adapt import prepare
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import check_and_read
from deixis.data import catalogue
from deixis.data.datasets.sources import fetch
from deixis.engine.adaptation.adapt import AdaptationArm, AdaptationPlan, run
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import AdaptationRecipe

__all__ = ["main"]

SETS = ("emoji", "art4apps")
DIVISIONS = 4
DROPOUTS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)


def experiment(name: str, talk: Reporter) -> Experiment:
    """One set as captioned images, split three times."""
    fetch.get(name, print)
    encoder = zoo.load("starter")
    collection = check_and_read(dataclasses.replace(catalogue.read(name), kind="captions"), talk)
    return prepare(encoder, collection, AdaptSettings(splits=3), talk)


def within(whole: Experiment, index: int, dropout: float) -> AdaptationArm:
    """The training part of one split, divided again."""
    part = whole.splits[index].train
    groups = [whole.groups[i] for i in part]
    inner = dataclasses.replace(
        whole, table=whole.table.take(part), groups=groups, splits=divide(groups, index, DIVISIONS), seed=index
    )
    return run(inner, AdaptationPlan(AdaptationRecipe("residual", {"dropout": dropout})))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the grid and appends a row a value and set."""
    parser = argparse.ArgumentParser(prog="python -m bench.residual_choice", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("residual_choice.jsonl"), help="for the rows")
    results = parser.parse_args(arguments).results
    torch.set_num_threads(1)
    found = {name: experiment(name, Reporter()) for name in SETS}
    for dropout in DROPOUTS:
        total = 0.0
        for name, each in found.items():
            arms = [within(each, index, dropout) for index in range(len(each.splits))]
            gain, mrr = (sum(arm.evidence(n).value for arm in arms) / len(arms) for n in (TEST_STATISTIC, "mean_mrr"))
            total += gain
            row = {"set": name, "dropout": dropout, "log_rank_gain": round(gain, 5), "mean_mrr_gain": round(mrr, 5)}
            with open(results, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "splits": len(arms), **environment(1)}) + "\n")
        print(f"dropout {dropout}: {total:.4f}", flush=True)


if __name__ == "__main__":
    main()
