"""Maps drawn on pictures: warm where they speak for something, blue where they speak against it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from deixis.apps.common.formatting import MINUS

__all__ = ["Panel", "Share", "png", "sheet", "tinted"]

_FOR = ((255, 225, 110), (253, 150, 40), (222, 45, 30), (170, 0, 45))
_AGAINST = ((190, 225, 245), (105, 175, 220), (45, 105, 190), (30, 40, 120))
_INK, _SOFT, _PAPER, _EDGE = (27, 29, 32), (89, 94, 102), (255, 255, 255), (222, 219, 211)
_SIDE, _GAP, _LINE, _SMALL = 320, 16, 22, 13


class Share(NamedTuple):
    """A word, and its part in the score: those of a text, without their signs, sum to 1."""

    word: str
    share: float


class Panel(NamedTuple):
    """A picture of a sheet, what stands below it, and the words of the text."""

    picture: Image.Image
    title: str
    words: Sequence[Share] = ()


def tinted(
    picture: Image.Image, values: Float[Tensor, "H W"], inside: Bool[Tensor, "H W"] | None = None
) -> Image.Image:
    """A picture in grey with a map over it in colour, both of one size.

    Args:
        picture: what lies below.
        values: from -1 to 1; colour deepens with the distance from 0.
        inside: pixels that the model saw; the others are dimmed.
    """
    grey = np.asarray(picture.convert("L").convert("RGB"), np.float64)
    heat = values.detach().cpu().double().numpy()[..., None].clip(-1, 1)
    colours = np.where(heat < 0, _ramp(_AGAINST, -heat), _ramp(_FOR, heat))
    opacity = 0.8 * np.abs(heat)
    mixed = (1 - opacity) * (70 + 0.72 * grey) + opacity * colours
    if inside is not None:
        mixed = np.where(inside.cpu().numpy()[..., None], mixed, 0.25 * mixed + 0.75 * 235)
    return Image.fromarray(np.rint(mixed).clip(0, 255).astype(np.uint8))


def _ramp(stops: Sequence[tuple[int, int, int]], heat: NDArray[np.float64]) -> NDArray[np.float64]:
    places = np.linspace(0, 1, len(stops))
    return np.concatenate([np.interp(heat, places, channel) for channel in zip(*stops, strict=True)], axis=-1)


def png(picture: Image.Image) -> bytes:
    """The picture as a PNG file."""
    memory = io.BytesIO()
    picture.save(memory, "PNG")
    return memory.getvalue()


def sheet(rows: Sequence[Sequence[Panel]]) -> Image.Image:
    """Rows of pictures, each with its title and its words as bars below."""
    width = _GAP + max(map(len, rows)) * (_SIDE + _GAP)
    heights = [max(map(_height, row)) for row in rows]
    page = Image.new("RGB", (width, _GAP + sum(heights)), _PAPER)
    y = _GAP
    for row, height in zip(rows, heights, strict=True):
        tallest = max(_fitted(panel.picture)[1] for panel in row)
        for column, panel in enumerate(row):
            _draw(page, panel, (_GAP + column * (_SIDE + _GAP), y), tallest)
        y += height
    return page


def _fitted(picture: Image.Image) -> tuple[int, int]:
    factor = _SIDE / max(picture.size)
    return max(1, round(picture.width * factor)), max(1, round(picture.height * factor))


def _height(panel: Panel) -> int:
    return _fitted(panel.picture)[1] + 2 * _GAP + _LINE * (len(_wrapped(panel.title)) + len(panel.words))


def _draw(page: Image.Image, panel: Panel, corner: tuple[int, int], tallest: int) -> None:
    (x, y), draw, font = corner, ImageDraw.Draw(page), ImageFont.load_default(_SMALL)
    size = _fitted(panel.picture)
    filter = Image.Resampling.LANCZOS if max(panel.picture.size) > _SIDE else Image.Resampling.BICUBIC
    page.paste(panel.picture.resize(size, filter), (x + (_SIDE - size[0]) // 2, y + (tallest - size[1]) // 2))
    y += tallest + _GAP // 2
    for line in _wrapped(panel.title):
        draw.text((x, y), line, _INK, font)
        y += _LINE
    for word, share in panel.words:
        draw.text((x + 96, y), _cut(word, 92), _INK, font, anchor="ra")
        end = x + 104 + round(150 * min(1.0, abs(share)))
        draw.rectangle((x + 104, y + 2, x + 254, y + 14), outline=_EDGE)
        draw.rectangle((x + 104, y + 2, end, y + 14), fill=_AGAINST[2] if share < 0 else _FOR[2])
        draw.text((x + 262, y), f"{MINUS if share < 0 else ''}{abs(share):.0%}", _SOFT, font)
        y += _LINE


def _wrapped(text: str) -> list[str]:
    """Lines that fit below a picture; three at the most."""
    font, lines = ImageFont.load_default(_SMALL), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > _SIDE:
            lines.append(word)
        else:
            lines[-1] = longer
    shown = [_cut(line, _SIDE) for line in lines[:3]]
    return [*shown[:2], _cut(" ".join(lines[2:]), _SIDE)] if len(lines) > 3 else shown


def _cut(text: str, width: int) -> str:
    font = ImageFont.load_default(_SMALL)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."
