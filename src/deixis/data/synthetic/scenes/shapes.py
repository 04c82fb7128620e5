"""A small cast drawn here: shapes with a rim and a shine, in a few variants each; nothing has to be fetched."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageDraw, ImageFilter

__all__ = ["SHAPES", "VARIANTS", "Shape"]

VARIANTS = 6
"""Variants of each shape: they differ in proportion, turn and rim."""

_FINE = 4  # drawn so much larger, then reduced
Points = list[tuple[float, float]]


@dataclasses.dataclass(frozen=True)
class Shape:
    """A shape.

    Attributes:
        noun: a key of `SHAPES`.
        variant: 0 to `VARIANTS` - 1.
    """

    noun: str
    variant: int

    def draw(self, side: int) -> UInt8[np.ndarray, "H W 4"]:
        """Its pixels with alpha, the longer side about `side`."""
        whole = side * _FINE
        mask = Image.new("L", (whole, whole))
        for points, fill in SHAPES[self.noun](self.variant):
            turned = _turn(points, (self.variant - 2.5) * 7)
            ImageDraw.Draw(mask).polygon([((x + 1) * whole / 2, (y + 1) * whole / 2) for x, y in turned], fill=fill)
        rim = whole // (24 + 2 * self.variant)
        inner = mask.filter(ImageFilter.BoxBlur(rim)).point([0] * 250 + [255] * 6)
        shine = Image.linear_gradient("L").resize(mask.size).rotate(180 + 15 * self.variant)
        grey = ImageChops.multiply(ImageChops.lighter(shine, Image.new("L", mask.size, 90)), inner)
        grey = ImageChops.lighter(grey, Image.new("L", mask.size, 40))
        image = Image.merge("RGBA", (grey, grey, grey, mask)).resize((side, side), Image.Resampling.BOX)
        return np.array(image.crop(image.getchannel("A").getbbox()))


def _turn(points: Points, degrees: float) -> Points:
    """Turned about the centre, and small enough to stay inside."""
    c, s = 0.7 * math.cos(math.radians(degrees)), 0.7 * math.sin(math.radians(degrees))
    return [(c * x - s * y, s * x + c * y) for x, y in points]


def _round(corners: int, wide: float = 1.0, high: float = 1.0, start: float = -90.0) -> Points:
    angles = [math.radians(start + 360 * i / corners) for i in range(corners)]
    return [(wide * math.cos(a), high * math.sin(a)) for a in angles]


def _star(tips: int, depth: float) -> Points:
    outer, inner = _round(tips), _round(tips, depth, depth, -90 + 180 / tips)
    return [point for pair in zip(outer, inner, strict=True) for point in pair]


def _heart(width: float) -> Points:
    angles = [2 * math.pi * i / 48 for i in range(48)]
    return [
        (
            width * math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16,
        )
        for a in angles
    ]


def _cross(arm: float) -> Points:
    corners = [(-arm, -1), (arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm)]
    return [(float(x), float(y)) for x, y in corners] + [(-float(x), -float(y)) for x, y in corners]


def _arrow(thick: float) -> Points:
    half = [(-1.0, -thick), (0.1, -thick), (0.1, -0.7), (1.0, 0.0)]
    return half + [(x, -y) for x, y in reversed(half[:-1])]


def _moon(bite: float) -> list[tuple[Points, int]]:
    return [(_round(48), 255), ([(x * 0.9 + bite, y * 0.9) for x, y in _round(48)], 0)]


def _box(width: float, height: float) -> Points:
    return [(-width, -height), (width, -height), (width, height), (-width, height)]


SHAPES: Mapping[str, Callable[[int], list[tuple[Points, int]]]] = {
    "arrow": lambda v: [(_arrow(0.2 + 0.05 * v), 255)],
    "bar": lambda v: [(_box(1.0, 0.18 + 0.03 * v), 255)],
    "circle": lambda v: [(_round(48), 255)],
    "cross": lambda v: [(_cross(0.2 + 0.04 * v), 255)],
    "diamond": lambda v: [(_round(4, 0.55 + 0.04 * v, 1.0), 255)],
    "heart": lambda v: [(_heart(0.8 + 0.05 * v), 255)],
    "hexagon": lambda v: [(_round(6, 1.0, 0.8 + 0.04 * v), 255)],
    "moon": lambda v: [*_moon(0.35 + 0.06 * v)],
    "oval": lambda v: [(_round(48, 1.0, 0.45 + 0.05 * v), 255)],
    "ring": lambda v: [(_round(48), 255), (_round(48, 0.45 + 0.06 * v, 0.45 + 0.06 * v), 0)],
    "square": lambda v: [(_box(0.9, 0.9), 255)],
    "star": lambda v: [(_star(5 + v % 3, 0.4 + 0.04 * v), 255)],
    "triangle": lambda v: [(_round(3, 1.0, 0.8 + 0.06 * v), 255)],
}
"""Noun -> its outlines by variant, each with what it is filled with: 255, or 0 for a hole."""
