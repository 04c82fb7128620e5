"""Which region each word of a text means, by a method that offers `align`: a table, and boxes on the picture."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.common.runs import explained
from deixis.apps.explain.explain import free_file
from deixis.apps.explain.settings import ExplainSettings
from deixis.apps.predict.capable import open_method
from deixis.engine.evaluation.retrieval_eval import eval_without_grad
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.inputs.images import open_image
from deixis.nn import compute
from deixis.types.region_drawing import MarkedRegion, draw_boxes

__all__ = ["WordRegion", "align_file", "align_words"]


@dataclasses.dataclass(frozen=True)
class WordRegion:
    """The region that a word means most.

    Attributes:
        word: as it stands in the text.
        box: x0 y0 x1 y1, in shares of the picture.
        score: how much the word means it.
        share: of the scores of all regions, by their softmax: 1 over their number where the word means none.
        region: its number among the regions.
        regions: how many there are.
    """

    word: str
    box: tuple[float, float, float, float]
    score: float
    share: float
    region: int
    regions: int


def align_words(model: str | os.PathLike[str], photo: str | Path, texts: Sequence[str]) -> list[list[WordRegion]]:
    """For each text the region of each of its words.

    Args:
        model: folder of a run whose method offers `align`.
        photo: path of the picture.
        texts: what is said of it.

    Raises:
        DeixisError: the method does not offer this, the picture can't be read, or nothing is found in it.
    """
    method = open_method(model, "align")
    pairs, found, device = RegionPairs(method), list[list[WordRegion]](), compute.current().device
    with compute.placed(method), eval_without_grad(method):
        for batch in pairs.batches([Path(photo)] * len(texts), texts):
            scores = method.align(batch.to(device)).float().cpu()
            assert batch.boxes is not None
            for row, text in enumerate(texts):
                boxes = batch.boxes[row][batch.valid["T"][row]]
                if not len(boxes):
                    raise DeixisError(f"No region is found in {photo}.", "Give a picture with things in it.")
                words = pairs.tokenizer.words(text, batch.valid["L"].shape[2])
                rows = []
                for start, stop, first, last in words:
                    own = scores[row, first:last, : len(boxes)].mean(0)
                    best = int(own.argmax())
                    x0, y0, x1, y1 = boxes[best].tolist()
                    share = float((own / _SPREAD).softmax(0)[best])
                    rows.append(
                        WordRegion(text[start:stop], (x0, y0, x1, y1), float(own[best]), share, best, len(boxes))
                    )
                found.append(rows)
    return found


_SPREAD = 0.1
"""By which cosines are divided before their softmax."""


def align_file(
    photo: str,
    texts: Sequence[str],
    model: str,
    settings: ExplainSettings,
    *,
    out: str = "",
    overwrite: bool = False,
    quiet: bool = False,
) -> list[list[WordRegion]]:
    """Prints the region of each word, and writes the picture with their boxes as PNG, one below the other.

    Args:
        photo: path of the picture.
        texts: what is said of it.
        model: folder of a run.
        settings: device and precision.
        out: the PNG; by default `NAME-explained.png` in the working folder.
        overwrite: replace what is there.
        quiet: print nothing.

    Raises:
        DeixisError: as `align_words`, or a file is there already or can't be written.
    """
    talk, path = Reporter(quiet), Path(out or f"{Path(photo).stem}-explained.png")
    free_file(path, overwrite)
    with settings.active():
        found = align_words(model, photo, texts)
    picture = open_image(Path(photo))
    sheets = [draw_boxes(picture, [MarkedRegion(each.word, each.box, each.score) for each in rows]) for rows in found]
    with explained(path), atomic_path(path) as temporary, open(temporary, "wb") as file:
        _stacked(sheets).save(file, "PNG")
    for text, rows in zip(texts, found, strict=True):
        talk.result(text)
        talk.result("  word                  score  share  region  box")
        for each in rows:
            box = " ".join(f"{side:.2f}" for side in each.box)
            place = f"{each.region + 1}/{each.regions}"
            talk.result(f"  {each.word:<20} {each.score:6.2f} {each.share:6.0%}  {place:>6}  {box}")
    talk.result(f"{path} written.")
    return found


def _stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (max(each.width for each in sheets), sum(each.height for each in sheets)), (255, 255, 255))
    top = 0
    for each in sheets:
        page.paste(each, (0, top))
        top += each.height
    return page
