"""What `deixis teach` finds of one thing among look-alikes: rows of `results/teach.jsonl`.

    python -m bench.teach_rows                    20 stamps, 3 look-alikes of each, 300 others
    python -m bench.teach_rows --things 2 --model tiny

Each stamp and its look-alikes (those nearest to it by the model) lie in the run as six photographs of each: turned,
moved, larger or smaller, lighter or darker, on another ground. Four more of the stamp are taught, then it is searched
for by its caption, by the mean of the four, and by what was taught; of the first six results, how many show it? The
run holds photographs of the thing that nobody named, as the folder of a user does.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

import deixis
from bench.rows import ROOT, environment
from deixis.data import catalogue
from deixis.inputs.images import open_image
from deixis.ops.stats import t_interval
from deixis.types import Sample

__all__ = ["ALIKE", "OTHERS", "PHOTOS", "TAUGHT", "main", "measure", "photograph", "write_pictures"]

RESULTS = ROOT / "results" / "teach.jsonl"
PHOTOS, TAUGHT, ALIKE, OTHERS = 6, 4, 3, 300
"""Photographs of each thing in the run, and of the one that is taught beside; look-alikes; stamps of other kinds."""

_SIDE = 400


def photograph(image: Image.Image, rng: random.Random) -> Image.Image:
    """The thing as somebody might have photographed it.

    Args:
        image: in mode RGB.
        rng: draws the turn (up to 25 degrees), the size, the place, the ground and the light.
    """
    ground = (rng.randint(120, 255), rng.randint(120, 255), rng.randint(120, 255))
    image = image.rotate(rng.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True, fillcolor=(255, 255, 255))
    scale = rng.uniform(0.4, 0.75) * _SIDE / max(image.size)
    image = image.resize([max(1, round(scale * side)) for side in image.size], Image.Resampling.LANCZOS)
    photo = Image.new("RGB", (_SIDE, _SIDE), ground)
    photo.paste(image, (rng.randint(0, _SIDE - image.width), rng.randint(0, _SIDE - image.height)))
    return ImageEnhance.Brightness(photo).enhance(rng.uniform(0.8, 1.2))


def write_pictures(folder: Path, things: int, seed: int, model: str) -> dict[str, tuple[str, list[str]]]:
    """Writes `run/` and, for each thing, `taught/NAME/`; gives name -> caption, and the names of its look-alikes.

    Args:
        folder: an empty one.
        things: how many are taught.
        seed: of what is drawn.
        model: by which stamps are alike.
    """
    samples = list(catalogue.read("stamps").samples)
    rng = random.Random(seed)
    rng.shuffle(samples)
    encoder = deixis.load(model)
    vectors = np.asarray(encoder.encode_image([sample.picture for sample in samples]).detach().cpu(), np.float32)
    free, chosen = set(range(len(samples))), {}
    for number, sample in enumerate(samples):
        if len(chosen) == things:
            break
        near = [int(each) for each in np.argsort(-vectors @ vectors[number]) if int(each) in free - {number}][:ALIKE]
        if sample.captions and number in free:
            chosen[number] = near
            free -= {number, *near}
    (folder / "run").mkdir()
    for number in (each for one, near in chosen.items() for each in (one, *near)):
        _write(folder / "run", f"{number:03}", samples[number], PHOTOS, rng)
    for number in chosen:
        _write(folder / "taught" / f"{number:03}", "photo", samples[number], TAUGHT, rng)
    for number in sorted(free)[:OTHERS]:
        open_image(samples[number].picture).save(folder / "run" / f"other-{number:03}.png")
    return {
        f"{one:03}": (str(samples[one].captions[0]), [f"{each:03}" for each in near]) for one, near in chosen.items()
    }


def _write(folder: Path, name: str, sample: Sample, count: int, rng: random.Random) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for copy in range(count):
        photograph(open_image(sample.picture), rng).save(folder / f"{name}-{copy}.png")


def measure(folder: Path, things: int, seed: int, model: str) -> dict[str, Any]:
    """A row: means over the things of how many of the first six results show it, or a look-alike of it.

    Args:
        folder: an empty one.
        things: how many are taught.
        seed: of what is drawn.
        model: that is taught.
    """
    told = write_pictures(folder, things, seed, model)
    run = folder / "index"
    deixis.index(folder / "run", run, model, quiet=True)
    shown: dict[str, list[tuple[int, int]]] = {"name": [], "mean": [], "taught": []}
    kept: list[str] = []
    seconds: list[float] = []
    for name, (caption, alike) in told.items():
        pictures = sorted((folder / "taught" / name).iterdir())
        start = time.perf_counter()
        kept.append(deixis.teach(run, name, [str(each) for each in pictures], seed=seed).kept)
        seconds.append(time.perf_counter() - start)
        for way, hits in {
            "name": deixis.search(run, caption, PHOTOS),
            "mean": deixis.search(run, k=PHOTOS, images=pictures),
            "taught": deixis.search(run, f"<{name}>", PHOTOS),
        }.items():
            found = [Path(hit.item["id"]).name.split("-")[0] for hit in hits]
            shown[way].append((found.count(name), sum(found.count(each) for each in alike)))
    return {
        "things": things,
        "pictures": len(list((folder / "run").iterdir())),
        "model": model,
        "seed": seed,
        "seconds": round(statistics.median(seconds), 1),
        "kept": {way: kept.count(way) for way in ("name", "mean", "learned")},
        "found": {way: _figures([own for own, _ in each]) for way, each in shown.items()},
        "alike": {way: _figures([other for _, other in each]) for way, each in shown.items()},
        "ahead_of_mean": _figures(
            [mine[0] - plain[0] for mine, plain in zip(shown["taught"], shown["mean"], strict=True)]
        ),
    }


def _figures(counts: Sequence[int]) -> Mapping[str, float]:
    interval = t_interval([float(count) for count in counts])
    return {
        "mean": round(statistics.fmean(counts), 2),
        "low": round(interval.low, 2),
        "high": round(interval.high, 2),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and appends a row."""
    parser = argparse.ArgumentParser(prog="python -m bench.teach_rows", description=str(__doc__).splitlines()[0])
    parser.add_argument("--things", type=int, default=20, help="that are taught (default 20)")
    parser.add_argument("--model", default="starter", help="that is taught")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the row is added")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        row = measure(Path(folder), chosen.things, chosen.seed, chosen.model)
    place = environment(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))
    with open(chosen.results, "a", encoding="utf-8") as file:
        file.write(json.dumps({**row, **place}) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
