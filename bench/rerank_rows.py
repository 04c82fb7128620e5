"""What scoring the first results again is worth: `python -m bench.rerank_rows 0` adds rows of the protocol
`pair-retrieval` to `results/protocols.jsonl`.

UNITER learns which captions and scenes belong together, of the world in which its claims stand (captions list the
nouns), and scores the starter's first 50 results again: on scenes of other cut-outs, and where it can't help, on stamps
whose captions are of another kind.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.protocol_rows import rows_by_seed, rows_in
from deixis.apps.eval.evaluate import evaluate
from deixis.apps.eval.settings import EvalSettings
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.train import train
from deixis.data import catalogue
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.tasks import word_regions
from deixis.types import Source

__all__ = ["main", "rows_of", "sets"]

METHOD, FIRST = "uniter", "starter"
STEPS, BATCH = 800, 64
ASKED = 200
SCENES = word_regions.Options(said="nouns", count=1000, held=ASKED)


def sets(task: TrainingTask) -> dict[str, Source]:
    """Name in rows -> what is searched, none of which was learned from.

    Args:
        task: whose scenes were.
    """
    return {
        "scenes whose captions list the nouns": task.test,
        f"stamps, {ASKED} of them": catalogue.read("stamps"),
    }


def rows_of(seed: int) -> list[dict[str, Any]]:
    """Trains and searches; a row for each set and metric.

    Args:
        seed: of scenes and training.
    """
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, METHOD)
        task = word_regions.make(SCENES, seed)
        settings = TrainSettings(
            steps=STEPS,
            batch_size=BATCH,
            seed=seed,
            workers=0,
            precision="float32",
            set=('tasks=(("itm", 2), ("mlm", 1))',),
        )
        train(METHOD, task.train, run, settings)
        for number, (name, data) in enumerate(sets(task).items()):
            out = Path(folder, f"out-{number}")
            chosen = EvalSettings(protocol=("pair-retrieval",), model=(FIRST,), rerank=str(run), limit=ASKED)
            evaluate(data, out, chosen, quiet=True)
            rows += rows_in(out, protocol="pair-retrieval", model=f"{FIRST}, then {METHOD}", data=name, seed=seed)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows."""
    rows_by_seed("bench.rerank_rows", __doc__.splitlines()[0], rows_of, arguments)


if __name__ == "__main__":
    main()
