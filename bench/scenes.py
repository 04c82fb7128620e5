"""Race `scenes`: pictures generated in a second, against a plain loop that reads its cut-outs and fonts each time.

There is no package to race: a plain Pillow loop is what one would write first. It opens every cut-out, crops it, brings
it to its size and pastes it; of a word it opens the font. Its pixels must be ours. Ours keeps cut-outs, reduced, and
fonts in memory. `made` is the generation of the samples alone (places, masks, captions, expressions, questions).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image

from bench.rows import RESULTS, Race, alternate, append_row, environment, make_row
from deixis.data.synthetic import scene_text
from deixis.data.synthetic.scene_text import Lettering
from deixis.data.synthetic.scenes import Scene, SceneConfig, cutouts, scenes
from deixis.data.synthetic.scenes.drawing import tint
from deixis.data.synthetic.scenes.shapes import Shape
from deixis.inputs.cutouts import load_cutout
from deixis.types import Drawing

__all__ = ["CASES", "RACE", "drawings", "equal", "main", "plainly"]

RACE = Race(
    measures="Pictures generated in a second",
    peers=("plain Pillow loop",),
    equal="the pixels of every picture",
)

COUNT = 200
CASES: dict[str, tuple[int, int]] = {
    f"{what}, {threads} thread{'s' * (threads > 1)}": (side, threads)
    for side, what in ((64, "64 px"), (128, "128 px"), (224, "224 px"), (0, "words 128 x 32"))
    for threads in (1, 2)
}
"""Case -> side of the scenes (0: words) and number of threads."""


def drawings(side: int, count: int, cast: str = "stamps") -> list[Drawing]:
    """Scenes of that side, or words where it is 0; undrawn."""
    if not side:
        config = scene_text.SceneTextConfig(fonts="set" if cast == "stamps" else "builtin", unseen="nothing")
        samples = scene_text.words(0, count, config=config).samples
    else:
        samples = scenes(
            0, count, side=side, config=SceneConfig(cast=cast, masks=False, phrases=0, questions=0)
        ).samples
    return [sample.image for sample in samples if isinstance(sample.image, Drawing)]


def plainly(drawing: Drawing) -> np.ndarray:
    """The picture of a scene or a word as one would draw it who keeps nothing."""
    if isinstance(drawing, Lettering):
        scene_text._face.cache_clear()
        return np.asarray(drawing.draw())
    assert isinstance(drawing, Scene)
    canvas = Image.fromarray(drawing.ground.draw(drawing.side))
    for item in drawing.items:
        longest = cutouts.LONGEST
        read = (
            item.picture.draw(longest) if isinstance(item.picture, Shape) else load_cutout(item.picture, side=longest)
        )
        image = Image.fromarray(read).convert("RGBa")
        if max(item.size) <= longest // 2:
            image = image.reduce(2)
        image = image.resize(item.size, Image.Resampling.BILINEAR).convert("RGBA")
        if item.flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        cut = np.array(image)
        canvas.paste(Image.fromarray(tint(cut, item.colour)), (item.x, item.y), Image.fromarray(cut[..., 3]))
    return np.array(canvas)


def equal(chosen: Sequence[Drawing]) -> bool:
    """Whether both sides draw the same pixels."""
    return all(np.array_equal(drawing.draw(), plainly(drawing)) for drawing in chosen)


def _rate(draw: Callable[[Drawing], Any], chosen: Sequence[Drawing], threads: int) -> float:
    start = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(draw, chosen):
            pass
    return len(chosen) / (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends a row a case; prints how many samples a second are made."""
    parser = argparse.ArgumentParser(prog="python -m bench.scenes", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="measurements a side (default 7)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    for case in chosen.cases:
        side, threads = CASES[case]
        pictures = drawings(side, COUNT)
        if not equal(pictures):
            raise SystemExit(f"scenes {case}: the sides draw different pixels")
        timings = alternate(
            lambda pictures=pictures, threads=threads: _rate(lambda each: each.draw(), pictures, threads),
            lambda pictures=pictures, threads=threads: _rate(plainly, pictures[: COUNT // 4], threads),
            chosen.repeats,
        )
        peer = {"peer": "plain Pillow loop", "peer_version": PIL.__version__}
        row = make_row(
            {"race": "scenes", "case": case, **peer},
            timings,
            unit="images/s",
            equal=True,
            surroundings=environment(threads=threads),
        )
        append_row(row, chosen.results)
    for side in sorted({CASES[case][0] for case in chosen.cases} - {0}):
        start = time.perf_counter()
        scenes(1, COUNT, side=side)
        print(f"scenes {side} px: {COUNT / (time.perf_counter() - start):.0f} samples/s are made, undrawn", flush=True)


if __name__ == "__main__":
    main()
