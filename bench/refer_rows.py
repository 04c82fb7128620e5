"""Which of a detector's boxes an expression means, on unseen photographic stamps: `python -m bench.refer_rows 0`.

`variational_context` is trained on scenes of photographic stamps and asked, by the protocol `refer`, about scenes of
other cut-outs of the same nouns. Beside it stand the largest and the likeliest box and `detect_match`, which choose
among the same boxes; the differences are kept as notes, with their intervals over pictures. Rows are added to
`results/protocols.jsonl`.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.protocol_rows import rows_by_seed, rows_in
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
        first, *rest = rows_in(out, protocol="refer", model=METHOD, data=DATA, seed=seed)
    return [{**first, "notes": result["notes"]}, *rest]


def main(arguments: Sequence[str] | None = None) -> None:
    """Adds the rows."""
    rows_by_seed("bench.refer_rows", __doc__.splitlines()[0], rows_of, arguments)


if __name__ == "__main__":
    main()
