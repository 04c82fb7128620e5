"""The class of each pixel drawn on a picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from deixis.types.region_drawing import COLOURS, FONT_SIZE, PAPER, tinted

__all__ = ["draw_classes"]

_INK, _LINE, _GAP = (27, 29, 32), 20, 8


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
        drawn = tinted(drawn, numbers == number, COLOURS[number % len(COLOURS)])
    page = Image.new("RGB", (drawn.width, drawn.height + _GAP + _LINE * len(there)), PAPER)
    page.paste(drawn)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(FONT_SIZE)
    for line, number in enumerate(there):
        y = drawn.height + _GAP + line * _LINE
        draw.rectangle((_GAP, y, _GAP + FONT_SIZE, y + FONT_SIZE), fill=COLOURS[number % len(COLOURS)])
        draw.text((2 * _GAP + FONT_SIZE, y), names[number], _INK, font)
    return page
