"""Boxes and masks of phrases drawn on a picture, each phrase in its own colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["COLOURS", "FONT_SIZE", "PAPER", "MarkedRegion", "draw_boxes", "draw_classes"]

COLOURS = (
    *((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207)),
    *((140, 86, 75), (227, 119, 194), (188, 189, 34), (127, 127, 127)),
)
"""Of phrases and classes, in turn."""

FONT_SIZE, PAPER = 13, (255, 255, 255)
_OPACITY, _LINE, _GAP = 0.5, 20, 8
_INK, _PALE = (27, 29, 32), (160, 160, 160)


class MarkedRegion(NamedTuple):
    """What a phrase is found to mean: a box in shares of the picture's width and height, how well it fits, and the
    pixels, at the size of the picture, where they are known."""

    phrase: str
    box: tuple[float, float, float, float]
    score: float
    mask: Bool[Tensor, "H W"] | None = None


def draw_boxes(picture: Image.Image, marks: Sequence[MarkedRegion]) -> Image.Image:
    """A picture with boxes and masks, each phrase in its own colour.

    Args:
        picture: what lies below.
        marks: what is drawn; equal phrases share a colour.
    """
    drawn = picture.convert("RGB")
    phrases = list(dict.fromkeys(each.phrase for each in marks))
    colours = {phrase: COLOURS[number % len(COLOURS)] for number, phrase in enumerate(phrases)}
    for each in marks:
        if each.mask is not None:
            drawn = _tinted(drawn, each.mask.numpy(), colours[each.phrase])
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(FONT_SIZE)
    width = max(2, round(max(picture.size) / 200))
    corners = [
        [share * side for share, side in zip(each.box, (*picture.size, *picture.size), strict=True)] for each in marks
    ]
    for each, box in reversed(
        [*zip(marks, corners, strict=True)]
    ):  # the best of a phrase is drawn last, over the others
        draw.rectangle(box, outline=colours[each.phrase], width=width)
    taken: list[tuple[float, float, float]] = []
    for each, box in zip(marks, corners, strict=True):
        text = f"{each.phrase} {each.score:.2g}"
        place = _free_place(box, draw.textlength(text, font) + _GAP, picture.size, taken)
        taken.append(place)
        draw.rectangle((*place[:2], place[0] + place[2], place[1] + _LINE), fill=colours[each.phrase])
        draw.text((place[0] + _GAP / 2, place[1] + 2), text, PAPER, font)
    return drawn


def draw_classes(
    picture: Image.Image, classes: Int64[Tensor, "H W"], lines: Sequence[str], clear: int = -1
) -> Image.Image:
    """A picture under the colours of the classes of its pixels; below it a line for each that is there.

    Args:
        picture: what lies below.
        classes: numbers at the size of the picture; below 0: none.
        lines: of the legend, one a class.
        clear: a class that is left as it is, and has a line only.
    """
    numbers, drawn = classes.numpy(), picture.convert("RGB")
    there = [int(number) for number in np.unique(numbers) if number >= 0]
    colours = {number: _PALE if number == clear else COLOURS[(number - 1) % len(COLOURS)] for number in there}
    for number in there:
        if number != clear:
            drawn = _tinted(drawn, numbers == number, colours[number])
    page = Image.new("RGB", (drawn.width, drawn.height + _GAP + _LINE * len(there)), PAPER)
    page.paste(drawn)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for line, number in enumerate(there):
        y = drawn.height + _GAP + line * _LINE
        draw.rectangle((_GAP, y, _GAP + FONT_SIZE, y + FONT_SIZE), fill=colours[number])
        draw.text((2 * _GAP + FONT_SIZE, y), lines[number], _INK, font)
    return page


def _tinted(picture: Image.Image, inside: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """A picture with some of its pixels half in another colour."""
    pixels = np.asarray(picture, np.float64)
    mixed = (1 - _OPACITY) * pixels + _OPACITY * np.asarray(colour, np.float64)
    return Image.fromarray(np.where(inside[..., None], mixed, pixels).round().astype(np.uint8))


def _free_place(
    box: Sequence[float], width: float, size: tuple[int, int], taken: Sequence[tuple[float, float, float]]
) -> tuple[float, float, float]:
    """Where a label goes, with its width: above the corner of its box, or inside where there is no room above; below
    those that lie there already."""
    x = max(0.0, min(box[0], size[0] - width))
    y = box[1] - _LINE if box[1] >= _LINE else box[1]
    while any(abs(y - other) < _LINE and x < left + wide and left < x + width for left, other, wide in taken):
        y += _LINE
    return x, y, width
