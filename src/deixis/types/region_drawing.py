"""Boxes and masks of phrases drawn on a picture, each phrase in its own colour."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

__all__ = ["COLOURS", "FONT_SIZE", "PAPER", "MarkedRegion", "draw_boxes", "tinted"]

COLOURS = (
    *((214, 39, 40), (31, 119, 180), (44, 160, 44), (255, 127, 14), (148, 103, 189), (23, 190, 207)),
    *((140, 86, 75), (227, 119, 194), (188, 189, 34), (127, 127, 127)),
)
"""Of phrases and classes, in turn."""

FONT_SIZE, PAPER = 13, (255, 255, 255)
_OPACITY, _LINE, _GAP = 0.5, 20, 8


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
            drawn = tinted(drawn, each.mask.numpy(), colours[each.phrase])
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default(FONT_SIZE)
    width = max(2, round(max(picture.size) / 200))
    for each in reversed(marks):  # the best of a phrase is drawn last, over the others
        corners = [share * side for share, side in zip(each.box, (*picture.size, *picture.size), strict=True)]
        draw.rectangle(corners, outline=colours[each.phrase], width=width)
        _tag(draw, f"{each.phrase} {each.score:.2g}", (corners[0], corners[1]), colours[each.phrase], font)
    return drawn


def tinted(picture: Image.Image, inside: np.ndarray, colour: tuple[int, int, int]) -> Image.Image:
    """A picture with some of its pixels half in another colour."""
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
    draw.text((x + _GAP / 2, y + 2), text, PAPER, font)
