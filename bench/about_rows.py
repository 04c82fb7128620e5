"""A product table and the respects that `deixis adapt --about` makes of its columns: rows of `results/about.jsonl`.

    python -m bench.about_rows               900 pictures, columns kind, colour, ground and maker
    python -m bench.about_rows --pictures 100 --model tiny

A picture shows one of the garments of Fashion-MNIST in a colour on a grey ground. `kind` and `colour` can be seen,
`ground` (dark, middling or light) too, though no product table has it; `maker` is drawn by lot, can't be seen, and must
not be offered. The command is run as a user runs it, and timed by its process.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from bench.rows import ROOT, child_environment, children_seconds, environment
from deixis.data.synthetic.coloured_clothes import GROUNDS, ColouredPicture, coloured_clothes

__all__ = ["COLUMNS", "main", "measure", "products"]

RESULTS = ROOT / "results" / "about.jsonl"
COLUMNS = ("kind", "colour", "ground", "maker")
MAKERS = ("Abel and Sons", "Brightwater", "Corvo", "Dunmore")
_SIDE = 112
_GROUNDS = ("dark", "middling", "light")


def products(folder: Path, count: int, seed: int) -> Path:
    """Writes pictures, and a table of them with a column for each of `COLUMNS`; gives the table.

    Args:
        folder: that is there.
        count: of pictures.
        seed: of what is drawn.
    """
    rng = random.Random(seed)
    rows = []
    for number, sample in enumerate(coloured_clothes(seed, count, "test", _SIDE).samples):
        picture = sample.picture
        assert isinstance(picture, ColouredPicture)
        path = folder / f"{number:04}.png"
        Image.fromarray(picture.draw()).save(path)
        low, high = GROUNDS
        shade = _GROUNDS[min(2, 3 * (picture.ground - low) // (high - low))]
        rows.append((path.name, str(sample.label), picture.colour, shade, rng.choice(MAKERS)))
    with open(folder / "products.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", *COLUMNS))
        writer.writerows(rows)
    return folder / "products.csv"


def measure(folder: Path, count: int, seed: int, model: str) -> dict[str, Any]:
    """A row.

    Args:
        folder: an empty one.
        count: of pictures.
        seed: of what is drawn.
        model: that pictures are compared by.

    Raises:
        RuntimeError: the command failed; with what it said.
    """
    table, run = products(folder, count, seed), folder / "run"
    command = [sys.executable, "-m", "deixis", "adapt", str(table), "--about", *COLUMNS, "--model", model]
    start, busy = time.perf_counter(), children_seconds()
    done = subprocess.run(
        [*command, "--out", str(run)], env=child_environment(), capture_output=True, text=True, check=False
    )
    waited, worked = time.perf_counter() - start, children_seconds() - busy
    if done.returncode:
        raise RuntimeError(done.stderr)
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    told = {name: each["sentence"] for name, each in result["respects"].items()} | result["refused"]
    return {
        "pictures": count,
        "model": model,
        "seed": seed,
        "seconds": round(waited, 1),
        "processor": round(worked, 1),
        "columns": {name: _figures(told[name]) | {"offered": name in result["respects"]} for name in COLUMNS},
    }


def _figures(sentence: str) -> dict[str, Any]:
    """The figures of a sentence: pictures of the first ten that share the value, and by which way."""
    after, low, high, before, way = re.findall(
        r"pictures ([\d.]+) share it \[([\d.]+), ([\d.]+)\], before ([\d.]+), by ([a-z' ]+)", sentence
    )[0]
    return {"before": float(before), "after": float(after), "low": float(low), "high": float(high), "way": way}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and appends a row."""
    parser = argparse.ArgumentParser(prog="python -m bench.about_rows", description=str(__doc__).splitlines()[0])
    parser.add_argument("--pictures", type=int, default=900, help="in the table (default 900)")
    parser.add_argument("--model", default="starter", help="that pictures are compared by")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the row is added")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        row = measure(Path(folder), chosen.pictures, chosen.seed, chosen.model)
    place = environment(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    with open(chosen.results, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **place}) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
