"""The pictures of the grounding protocol with what the model says of each phrase, right and wrong, to be looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from deixis.apps.common.console import Reporter
from deixis.apps.eval.comparison import SHEET
from deixis.engine.evaluation.grounding import GroundingResult, PhraseAnswer, PhraseQuery, is_right
from deixis.files import atomic_path
from deixis.inputs.images import open_image

__all__ = ["write"]

_PICTURES, _COLUMNS = 48, 4
_SIDE, _GAP, _LINE, _FONT = 340, 14, 17, 13
_RIGHT, _WRONG, _TRUTH, _PAPER = (20, 130, 60), (200, 30, 40), (255, 225, 110), (255, 255, 255)


class _Line(NamedTuple):
    """What is said of a phrase, whether rightly, and where."""

    text: str
    right: bool
    boxes: Sequence[Sequence[float]]


def write(found: GroundingResult, folder: Path, talk: Reporter) -> Mapping[str, Any] | None:
    """Writes `answers.jpg`: the first pictures with numbered boxes, green where they are right, what is there in
    yellow where they are not, and the phrases below.

    Args:
        found: the answers.
        folder: where the file goes.
        talk: not needed.
    """
    pictures = list(dict.fromkeys(query.picture for query in found.queries))[:_PICTURES]
    cells = [_cell(found, picture) for picture in pictures]
    rows = [cells[start : start + _COLUMNS] for start in range(0, len(cells), _COLUMNS)]
    heights = [max(cell.height for cell in row) + _GAP for row in rows]
    page = Image.new("RGB", (_GAP + _COLUMNS * (_SIDE + _GAP), _GAP + sum(heights)), _PAPER)
    for number, row in enumerate(rows):
        for column, cell in enumerate(row):
            page.paste(cell, (_GAP + column * (_SIDE + _GAP), _GAP + sum(heights[:number])))
    with atomic_path(folder / SHEET) as temporary:
        page.save(temporary, "JPEG", quality=85)
    return None


def _cell(found: GroundingResult, picture: int) -> Image.Image:
    """One picture, and a line for each of its phrases."""
    own = [(q, a) for q, a in zip(found.queries, found.answers, strict=True) if q.picture == picture]
    image = open_image(found.data.samples[picture].picture)
    image.thumbnail((_SIDE, _SIDE))
    lines = [_line(number, *pair) for number, pair in enumerate(own, 1)]
    cell = Image.new("RGB", (_SIDE, image.height + 4 + _LINE * len(lines)), _PAPER)
    cell.paste(image, (0, 0))
    draw, font = ImageDraw.Draw(cell), ImageFont.load_default(_FONT)
    for line, (query, _) in zip(lines, own, strict=True):
        for box in () if line.right else query.boxes.tolist():
            draw.rectangle(_pixels(box, image), outline=_TRUTH)
    for number, line in enumerate(lines, 1):
        ink = _RIGHT if line.right else _WRONG
        for box in line.boxes:
            corners = _pixels(box, image)
            draw.rectangle(corners, outline=ink, width=2)
            draw.text((corners[0] + 4, corners[1] + 2), str(number), ink, font, stroke_width=2, stroke_fill=_PAPER)
        draw.text((0, image.height + 4 + _LINE * (number - 1)), line.text, ink, font)
    return cell


def _line(number: int, query: PhraseQuery, answer: PhraseAnswer) -> _Line:
    boxes = answer.boxes[:1] if answer.given is None else answer.given
    score = f"{float(answer.scores[0]):.2f}" if len(answer.scores) else ""
    said = f"{number} {query.phrase}" if len(boxes) else f"{number} {query.phrase}: not there"
    there = "" if query.regions or not len(boxes) else "(is not there)"
    return _Line(" ".join(filter(None, (said, score, answer.source, there))), is_right(query, answer), boxes.tolist())


def _pixels(box: Sequence[float], image: Image.Image) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    return x0 * image.width, y0 * image.height, max(x0 * image.width, x1 * image.width - 1), y1 * image.height - 1
