"""How the dropout of the residual adapter was chosen: by cross-validation over concepts, on drawings.

The pictures are the sets `emoji` and `art4apps`, which the demo does not adapt to, and of each of three splits only the
training part. Chosen is the value whose best setting has the highest gain in log rank, summed over both sets.
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
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from deixis.engine.adaptation.select import Experiment, choose

__all__ = ["main"]

SETS = ("emoji", "art4apps")
DROPOUTS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)


def experiment(name: str, talk: Reporter) -> Experiment:
    """One set as captioned images, split three times."""
    fetch.get(name, print)
    encoder = zoo.load("starter")
    collection = check_and_read(dataclasses.replace(catalogue.read(name), kind="captions"), talk)
    return prepare(encoder, collection, AdaptSettings(splits=3), talk)


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
            choices = [
                choose(
                    AdaptationRecipe("residual", {"dropout": dropout}),
                    Grid(repeats=1),
                    each,
                    each.table.take(split.train),
                    [each.groups[i] for i in split.train],
                    index,
                )
                for index, split in enumerate(each.splits)
            ]
            gain = sum(choice.gain.value for choice in choices) / len(choices)
            mrr = sum(choice.after - choice.before for choice in choices) / len(choices)
            total += gain
            row = {"set": name, "dropout": dropout, "log_rank_gain": round(gain, 5), "mean_mrr_gain": round(mrr, 5)}
            with open(results, "a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "splits": len(choices), **environment(1)}) + "\n")
        print(f"dropout {dropout}: {total:.4f}", flush=True)


if __name__ == "__main__":
    main()
