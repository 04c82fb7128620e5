"""What scoring the first results again is worth: `python -m bench.rerank_rows 0` adds rows of the protocol
`pair-retrieval` to `results/protocols.jsonl`.

UNITER learns which captions and scenes belong together, of the world in which its claims stand (captions list the
nouns), and scores the starter's first 50 results again: on scenes of other cut-outs, and where it can't help, on stamps
whose captions are of another kind.
"""

from __future__ import annotations

import argparse
import json
import tempfile
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
from deixis.engine.claims.tasks import word_regions
from deixis.types import Source

__all__ = ["main", "rows_of", "sets"]

METHOD, FIRST = "uniter", "starter"
STEPS, BATCH = 800, 64
LEARNED, ASKED, STAMPS = 1000, 200, 200


def sets(seed: int) -> dict[str, Source]:
    """Name in rows -> what is searched, none of which was learned from.

    Args:
        seed: of the scenes.
    """
    options = word_regions.Options(said="nouns", count=LEARNED, held=ASKED)
    return {
        "scenes whose captions list the nouns": word_regions.make(options, seed).test,
        f"stamps, {STAMPS} of them": catalogue.read("stamps"),
    }


def rows_of(seed: int) -> list[dict[str, Any]]:
    """Trains and searches; a row for each set and metric.

    Args:
        seed: of scenes and training.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, METHOD)
        options = word_regions.Options(said="nouns", count=LEARNED, held=ASKED)
        settings = TrainSettings(
            steps=STEPS,
            batch_size=BATCH,
            seed=seed,
            workers=0,
            precision="float32",
            set=('tasks=(("itm", 2), ("mlm", 1))',),
        )
        train(METHOD, word_regions.make(options, seed).train, run, settings)
        for number, (name, data) in enumerate(sets(seed).items()):
            out = Path(folder, f"out-{number}")
            chosen = EvalSettings(protocol=("pair-retrieval",), model=(FIRST,), rerank=str(run), limit=ASKED)
            evaluate(data, out, chosen, quiet=True)
            lines = (out / "rows.jsonl").read_text(encoding="utf-8").splitlines()
            shared = {"protocol": "pair-retrieval", "model": f"{FIRST}, then {METHOD}", "data": name, "seed": seed}
            rows += [{**json.loads(line), **shared} for line in lines]
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.rerank_rows", description=__doc__.splitlines()[0])
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
