"""What one's own boxes teach `deixis adapt`: rows of `results/own_boxes.jsonl`, on scenes of stamps.

    python -m bench.own_boxes_rows 200 20 20 20    a run from 200 boxes, and three, each from 20 others

The boxes are those of scenes of the split train, one phrase each, written down as somebody has them who drew them:
pictures and a `boxes.csv`, from which `deixis adapt boxes.csv` makes a run. What this run answers is compared with what
`deixis ground` answers without it, on scenes of the split test, whose stamps no scene of train shows. A run that kept
the order as it was answers as before, and is not asked.
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from bench.rows import ROOT, environment
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.adapt.tasks import adapt_or_index
from deixis.apps.common.options import Reading
from deixis.apps.predict.capable import open_method
from deixis.data.synthetic.scenes import scenes
from deixis.engine.adaptation.boxes import BoxTable, phrase_values, table_of
from deixis.engine.evaluation.data import EvalSet
from deixis.engine.evaluation.grounding import phrase_queries
from deixis.engine.training.build import build
from deixis.inputs.images import open_image
from deixis.ops.stats import cluster_bootstrap
from deixis.types import Sample

__all__ = ["main", "unseen", "write_boxes"]

RESULTS = ROOT / "results" / "own_boxes.jsonl"
METRICS = ("box_accuracy", "box_pointing")
SCENES, TEST_SEED = 60, 0


def write_boxes(samples: Sequence[Sample], folder: Path, count: int) -> Path:
    """Writes pictures, and a table of their boxes with a phrase each, until there are as many as wanted.

    Args:
        samples: pictures whose regions have phrases; of several phrases a region takes each in turn.
        folder: for the files.
        count: of boxes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "boxes.csv", "w", encoding="utf-8", newline="") as file:
        table, written = csv.writer(file), 0
        table.writerow(("image", "phrase", "x0", "y0", "x1", "y1"))
        for number, sample in enumerate(samples):
            open_image(sample.picture).save(folder / f"{number:03}.png")
            for region in sample.regions:
                if region.phrases and written < count:
                    phrase = region.phrases[written % len(region.phrases)].text
                    table.writerow((f"{number:03}.png", phrase, *(round(each, 5) for each in region.box)))
                    written += 1
            if written == count:
                break
    return folder / "boxes.csv"


@functools.cache
def unseen() -> BoxTable:
    """The candidates of every phrase about scenes of stamps that no box was drawn around."""
    source = scenes(TEST_SEED, SCENES, split="test")
    data = EvalSet(source, tuple(sample.id for sample in source.samples), tuple(range(SCENES)), "")
    method: Any = build("box_ranker").eval()
    return table_of(method, data, phrase_queries(source.samples), lambda *_: None)


def compared(table: BoxTable, weight: Float[torch.Tensor, " F"]) -> dict[str, Any]:
    """Before, after and difference, each with an interval over scenes; and for how many phrases a box is right."""
    before, after = (phrase_values(table, each) for each in (torch.zeros_like(weight), weight))
    groups = np.array(table.groups)
    reached = float(np.mean([bool((near >= table.overlap).any()) for near in table.overlaps]))
    return {"scenes": SCENES, "phrases": len(table), "best_possible": round(reached, 4)} | {
        name: {
            which: [round(each, 4) for each in cluster_bootstrap(values, groups)]
            for which, values in (
                *(("before", before[name]), ("after", after[name])),
                ("difference", after[name] - before[name]),
            )
        }
        for name in METRICS
    }


def row_of(boxes: int, seed: int) -> dict[str, Any]:
    """What `deixis adapt` made of so many boxes of the scenes of a seed."""
    with tempfile.TemporaryDirectory() as place:
        data, run = write_boxes(scenes(seed, boxes).samples, Path(place, "mine"), boxes), Path(place, "run")
        adapt_or_index(str(data), str(run), AdaptSettings(), Reading(), overwrite=False, quiet=True)
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        method: Any = open_method(str(run), "ground")
        same = not method.weight.any()
    return {
        "boxes": boxes,
        "seed": seed,
        "pictures": result["data"]["images"],
        "method": result["method"]["name"],
        "outcome": result["verdict"]["outcome"],
        "kept": result["kept"],
        "sentence": result["sentence"],
        "held_out": {name: list(result["difference"][name].values()) for name in METRICS},
        "unseen": None if same else compared(unseen(), method.weight.double()),
        "seconds": result["seconds"]["total"],
        "cpu_seconds": result["seconds"]["cpu"],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.own_boxes_rows", description=__doc__.splitlines()[0])
    parser.add_argument("boxes", type=int, nargs="+", help="that a run learns from; of each run the scenes are others")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed, boxes in enumerate(given.boxes):
        row = row_of(boxes, seed)
        with open(given.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **environment(torch.get_num_threads())}) + "\n")
        print(row["boxes"], row["seed"], row["kept"], row["held_out"], row["unseen"], flush=True)


if __name__ == "__main__":
    main()
