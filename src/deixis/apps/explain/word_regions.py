"""Which region each word of a text means, by a method that offers `align`: a table, and boxes on the picture. Of a
method that compares words with patches, the patch that each word is nearest to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.explain.explain import free_file
from deixis.apps.explain.settings import ExplainSettings
from deixis.apps.explain.word_patch_alignment import Alignment, draw
from deixis.apps.explain.word_patch_alignment import align_words as align_with_patches
from deixis.apps.predict.capable import Model, open_method
from deixis.engine.features.region_pairs import RegionPairs
from deixis.engine.training.stages import offers
from deixis.errors import DeixisError
from deixis.files import atomic_path, explained
from deixis.inputs.images import open_image
from deixis.types import Picture
from deixis.types.protocols import OffersAlign
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


def align_words(model: Model, photo: str | Picture, texts: Sequence[str]) -> list[list[WordRegion]]:
    """For each text the region of each of its words.

    Args:
        model: a method that offers `align`, or the folder of its run.
        photo: path of the picture, or where it lies in a shard.
        texts: what is said of it.

    Raises:
        DeixisError: the method does not offer this, the picture can't be read, or nothing is found in it.
    """
    method = open_method(model, "align")
    pairs, found = RegionPairs(method), list[list[WordRegion]]()
    pictures = [Path(photo) if isinstance(photo, str) else photo] * len(texts)
    for text, (boxes, scores, length) in zip(texts, pairs.by_region(method.align, pictures, texts), strict=True):
        if not len(boxes):
            raise DeixisError(f"No region is found in {photo}.", "Give a picture with things in it.")
        rows = []
        for start, stop, first, last in pairs.tokenizer.words(text, length):
            own = scores[first:last].mean(0)
            best = int(own.argmax())
            x0, y0, x1, y1 = boxes[best].tolist()
            share = float((own / _SPREAD).softmax(0)[best])
            rows.append(WordRegion(text[start:stop], (x0, y0, x1, y1), float(own[best]), share, best, len(boxes)))
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
    """Prints the region of each word, and writes the picture with their boxes as PNG, one below the other; of patches
    a sheet with a cell for each word.

    Args:
        photo: path of the picture.
        texts: what is said of it.
        model: folder of a run whose method offers `align`, or `image_tokens` and `text_tokens`.
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
        method = open_method(model, "align", others=("text_tokens",))
        if offers(method, OffersAlign):
            found, picture = align_words(method, photo, texts), open_image(Path(photo))
            sheets = [draw_boxes(picture, [MarkedRegion(e.word, e.box, e.score) for e in rows]) for rows in found]
        else:
            aligned = [align_with_patches(method, Path(photo), text) for text in texts]
            found = [_nearest_patches(each) for each in aligned]
            sheets = [draw(each, text) for each, text in zip(aligned, texts, strict=True)]
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


def _nearest_patches(aligned: Alignment) -> list[WordRegion]:
    """The patch that each word is nearest to, its box in shares of what the model is given."""
    _, rows, columns = aligned.similarity.shape
    found = []
    for word, scores, (y, x) in zip(aligned.words, aligned.similarity.flatten(1), aligned.choices(), strict=True):
        box = (x / columns, y / rows, (x + 1) / columns, (y + 1) / rows)
        place = y * columns + x
        share = float((scores / _SPREAD).softmax(0)[place])
        found.append(WordRegion(word, box, float(scores[place]), share, place, rows * columns))
    return found


def _stacked(sheets: Sequence[Image.Image]) -> Image.Image:
    page = Image.new("RGB", (max(each.width for each in sheets), sum(each.height for each in sheets)), (255, 255, 255))
    top = 0
    for each in sheets:
        page.paste(each, (0, top))
        top += each.height
    return page
