"""Regions drawn on pictures: boxes and masks of phrases, and the class of each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int64
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["COLOURS", "MarkedRegion", "draw_boxes", "draw_classes"]

COLOURS = (
    *((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207)),
    *((140, 86, 75), (227, 119, 194), (188, 189, 34), (127, 127, 127)),
)
"""Of phrases and classes, in turn."""

_OPACITY, _PAPER, _INK, _FONT, _LINE, _GAP = 0.5, (255, 255, 255), (27, 29, 32), 13, 20, 8


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
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(_FONT)
    width = max(2, round(max(picture.size) / 200))
    for each in reversed(marks):  # the best of a phrase is drawn last, over the others
        corners = [share * side for share, side in zip(each.box, (*picture.size, *picture.size), strict=True)]
        draw.rectangle(corners, outline=colours[each.phrase], width=width)
        _tag(draw, f"{each.phrase} {each.score:.2g}", (corners[0], corners[1]), colours[each.phrase], font)
    return drawn


def draw_classes(picture: Image.Image, classes: Int64[Tensor, "H W"], names: Sequence[str]) -> Image.Image:
    """A picture under the colours of the classes of its pixels; below it the names of those that are there.

    Args:
        picture: what lies below.
        classes: numbers at the size of the picture; below 0: none.
        names: of the classes.
    """
    numbers, drawn = classes.numpy(), picture.convert("RGB")
    there = [int(number) for number in np.unique(numbers) if number >= 0]
    for number in there:
        drawn = _tinted(drawn, numbers == number, COLOURS[number % len(COLOURS)])
    page = Image.new("RGB", (drawn.width, drawn.height + _GAP + _LINE * len(there)), _PAPER)
    page.paste(drawn)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT)
    for line, number in enumerate(there):
        y = drawn.height + _GAP + line * _LINE
        draw.rectangle((_GAP, y, _GAP + _FONT, y + _FONT), fill=COLOURS[number % len(COLOURS)])
        draw.text((2 * _GAP + _FONT, y), names[number], _INK, font)
    return page


def _tinted(picture: Image.Image, inside: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    pixels = np.asarray(picture, np.float64)
    mixed = (1 - _OPACITY) * pixels + _OPACITY * np.asarray(colour, np.float64)
    return Image.fromarray(np.where(inside[..., None], mixed, pixels).round().astype(np.uint8))


def _tag(
    draw: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    colour: tuple[int, int, int],
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    """A label above the corner of a box, or inside where there is no room above."""
    x, y = corner[0], corner[1] - _LINE if corner[1] >= _LINE else corner[1]
    draw.rectangle((x, y, x + draw.textlength(text, font) + _GAP, y + _LINE), fill=colour)
    draw.text((x + _GAP / 2, y + 2), text, _PAPER, font)
