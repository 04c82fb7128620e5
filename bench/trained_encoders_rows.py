"""Towers that learned from a set's own images, beside the starter: `python -m bench.trained_encoders_rows`.

SEER and PixPro from the starter's tower, SEER also from a new network: each learns from all images of a set without
their labels, and is measured on the same set, as somebody is who trains a tower for a collection and uses it there.
Altered copies are drawn anew; of labels, those of the images that are not asked about are learned by the probe alone.
Five seeds on stamps and art4apps, one elsewhere. Rows go to results/encoders.jsonl; what has a row is left out.

    python -m bench.trained_encoders_rows --command 900

instead runs `deixis train` on a folder of so many pictures, as a shell does, with its comparison at the end; how long
it took is a row of results/training.jsonl.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from bench.encoders_rows import RESULTS, SETS, EncoderJob, add_rows, allowed, jobs
from bench.rows import ROOT, child_environment, environment
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data import catalogue
from deixis.inputs.images import open_image

__all__ = ["COMMANDS", "STEPS", "TRAINED", "Training", "command_row", "main", "trainings"]

COMMANDS = ROOT / "results" / "training.jsonl"

STEPS = 128
"""Of 32 images each: the prototypes of `seer` rest for the first 20, and an epoch of stamps has 24."""

LATE = ("corruption",)
"""Protocols that read each image dozens of times: of the first set and its first seed alone."""


class Training(NamedTuple):
    """How a tower is trained.

    Attributes:
        method: its name.
        model: where it begins; empty: as the method's settings say, with the starter's tower.
    """

    method: str
    model: str = ""


TRAINED = {
    "seer": Training("seer"),
    "pixpro": Training("pixpro"),
    "seer, new": Training("seer", "scratch:resnet"),
}
"""Name in rows -> how it is trained."""

_SEVERAL, _ONCE = ("stamps", "art4apps"), ("clipart", "gcompris", "fashion", "emoji-tones")


def trainings() -> Iterator[tuple[str, int]]:
    """Set and seed, those first of which most is said."""
    yield from ((data, seed) for data in _SEVERAL for seed in range(5))
    yield from ((data, 0) for data in _ONCE)


def _jobs(data: str, seed: int) -> list[EncoderJob]:
    whole = (data, seed) == (_SEVERAL[0], 0)
    return [each for each in jobs() if each.data == data and (whole or not set(each.protocols) & set(LATE))]


def command_row(images: int, method: str = "seer") -> dict[str, Any]:
    """What `deixis train` takes from a folder of pictures to its last line, in a process of its own.

    Args:
        images: how many pictures, 320 pixels wide.
        method: that is trained, as its settings say.
    """
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        pictures.mkdir()
        for number, sample in enumerate(catalogue.read("emoji").samples[:images]):
            open_image(sample.picture).resize((320, 320)).save(pictures / f"{number:04}.jpg", quality=90)
        command = [sys.executable, "-m", "deixis", "train", method, "--data", str(pictures), "--out", f"{folder}/run"]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=child_environment())
        seconds = time.perf_counter() - start
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-500:]}")
        result = json.loads(Path(folder, "run", "result.json").read_text(encoding="utf-8"))
    told = {"method": method, "images": images, "seconds": round(seconds, 1), "peak_mb": result["peak_mb"]}
    return {**told, **environment(os.cpu_count() or 1)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains what is missing and adds its rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoders", nargs="*", default=list(TRAINED), choices=list(TRAINED), help="only these")
    parser.add_argument("--only", nargs="*", default=[*_SEVERAL, *_ONCE], help="names of sets")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"of 32 images (default {STEPS})")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--command", type=int, default=0, metavar="IMAGES", help="time the command instead")
    options = parser.parse_args(arguments)
    if options.command:
        with open(COMMANDS, "a", encoding="utf-8") as file:
            file.write(json.dumps(command_row(options.command), ensure_ascii=False) + "\n")
        return
    torch.set_num_threads(1)
    for data, seed in trainings():
        if data in options.only:
            _measure(data, seed, options)


def _measure(data: str, seed: int, options: argparse.Namespace) -> None:
    """Trains those encoders of which rows are missing, and measures them together: the starter once beside all."""
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.is_file() else []
    done = {
        (row["encoder"], row["protocol"])
        for row in map(json.loads, lines)
        if (row["data"], row.get("seed")) == (data, seed)
    }
    source = SETS[data]()
    todo: dict[EncoderJob, list[str]] = {}
    for job, name in itertools.product(_jobs(data, seed), options.encoders):
        missing = tuple(each for each in allowed(source, job.protocols) if (name, each) not in done)
        if missing:
            todo.setdefault(job._replace(protocols=missing), []).append(name)
    if not todo:
        return
    with tempfile.TemporaryDirectory() as folder:
        runs: dict[str, str] = {}
        for name in dict.fromkeys(itertools.chain(*todo.values())):
            print(f"{data}: {name}, seed {seed}", flush=True)
            settings = TrainSettings(
                model=TRAINED[name].model, steps=options.steps, held_out=0.0, seed=seed, workers=1, tensorboard="no"
            )
            runs[name] = str(Path(folder, name))
            train(TRAINED[name].method, source, Path(runs[name]), settings, quiet=True)
        for job, names in todo.items():
            more = {"seed": seed, "steps": options.steps}
            add_rows(source, job, {name: runs[name] for name in names}, options.results, more)


if __name__ == "__main__":
    main()
