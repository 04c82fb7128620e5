"""Which of a detector's boxes an expression means, on unseen photographic stamps: `python -m bench.refer_rows 0`.

`variational_context` is trained on scenes of photographic stamps and asked, by the protocol `refer`, about scenes of
other cut-outs of the same nouns. Beside it stand the largest and the likeliest box and `detect_match`, which choose
among the same boxes; the differences are kept as notes, with their intervals over pictures. Rows are added to
`results/protocols.jsonl`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from bench.rows import RESULTS, environment
from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data import catalogue
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.data.synthetic.scenes.object_bank import cutouts_of
from deixis.types import Source

__all__ = ["main", "photographic", "rows_of"]

METHOD, DATA = "variational_context", "scenes of photographic stamps, unseen cut-outs"
LEARNED, ASKED, SIDE, STEPS, BATCH = 800, 200, 256, 750, 64
LEAST = 3
"""Cut-outs of a noun, so that each split has one of its own."""


def photographic(seed: int, count: int, split: str) -> Source:
    """Scenes with several things of a noun, of which expressions tell one.

    Args:
        seed: of the scenes.
        count: of them.
        split: whose cut-outs they show.
    """
    every = [each for each in cutouts_of(catalogue.read("stamps").samples) if each.style == "photo"]
    common = Counter(each.noun for each in every)
    cast = tuple(each for each in every if common[each.noun] >= LEAST)
    config = SceneConfig(cast=cast, repeats=3, tinted=1.0, masks=False, questions=0)
    return scenes(seed, count, split=split, side=SIDE, config=config)


def rows_of(seed: int) -> list[dict[str, Any]]:
    """Trains and asks; a row for each metric and family of expressions, and one for each rival.

    Args:
        seed: of scenes and training.
    """
    with tempfile.TemporaryDirectory() as folder:
        run, out = Path(folder, METHOD), Path(folder, "out")
        settings = TrainSettings(steps=STEPS, batch_size=BATCH, seed=seed, workers=0, precision="float32")
        train(METHOD, photographic(seed, LEARNED, "train"), run, settings)
        data = photographic(seed, ASKED, "test")
        result = evaluate(data, out, EvalSettings(protocol=("refer",), model=(str(run),)), quiet=True)
        rows = [json.loads(line) for line in (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    shared = {"protocol": "refer", "model": METHOD, "data": DATA, "seed": seed}
    return [{**row, **shared, **({} if number else {"notes": result["notes"]})} for number, row in enumerate(rows)]


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.refer_rows", description=__doc__.splitlines()[0])
    parser.add_argument("seeds", type=int, nargs="+", help="of scenes and training")
    parser.add_argument("--results", type=Path, default=RESULTS.with_name("protocols.jsonl"), help="for the rows")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for seed in given.seeds:
        rows = rows_of(seed)
        with open(given.results, "a", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps({**row, **environment(1)}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
