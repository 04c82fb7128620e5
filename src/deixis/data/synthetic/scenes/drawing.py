"""A scene as a picture: a background and what is pasted on it. Drawn on demand, the same each time."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int8, UInt8
from PIL import Image

from deixis.data.synthetic.scenes.backgrounds import Ground
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.cutouts import SOLID, pixels
from deixis.data.synthetic.scenes.shapes import Shape

__all__ = ["PlacedCutout", "Scene", "tint"]


@dataclasses.dataclass(frozen=True)
class PlacedCutout:
    """A cut-out with a place.

    Attributes:
        picture: its pixels.
        x: its left edge, in pixels.
        y: its upper edge, in pixels.
        size: width and height, in pixels.
        flip: mirrored left to right.
        colour: a key of `config.COLOURS`, or empty for its own colours.
    """

    picture: Path | Shape
    x: int
    y: int
    size: tuple[int, int]
    flip: bool = False
    colour: str = ""

    def solid(self) -> Bool[np.ndarray, "H W"]:
        """Which of its pixels belong to it: those that cover more than half of what is behind.

        Of what is thinner than a pixel, those that cover at least half as much as its most solid one.
        """
        alpha = pixels(self.picture, self.size, self.flip)[..., 3]
        return alpha >= min(SOLID, max(1, int(alpha.max()) // 2))


@dataclasses.dataclass(frozen=True)
class Scene:
    """A picture with things on a background; a `types.Drawing`.

    Attributes:
        name: what it is called in messages.
        side: width and height in pixels.
        ground: the background.
        items: the things; later ones lie above.
    """

    name: str
    side: int
    ground: Ground
    items: tuple[PlacedCutout, ...]

    def draw(self) -> UInt8[np.ndarray, "H W 3"]:
        """The picture."""
        canvas = Image.fromarray(self.ground.draw(self.side))
        for item in self.items:
            cut = pixels(item.picture, item.size, item.flip)
            canvas.paste(Image.fromarray(tint(cut, item.colour)), (item.x, item.y), Image.fromarray(cut[..., 3]))
        return np.array(canvas)

    def layers(self) -> Int8[np.ndarray, "H W"]:
        """The number of the item that is visible at each pixel; -1 where it is the background."""
        visible = np.full((self.side, self.side), -1, np.int8)
        for number, item in enumerate(self.items):
            (width, height), solid = item.size, item.solid()
            visible[item.y : item.y + height, item.x : item.x + width][solid] = number
        return visible


def tint(cut: UInt8[np.ndarray, "H W 4"], colour: str) -> UInt8[np.ndarray, "H W 3"]:
    """The colours of a cut-out in one tint: light and shade stay, hue and saturation are the tint's.

    Args:
        cut: red, green, blue and alpha.
        colour: a key of `config.COLOURS`; empty for its own colours.
    """
    if not colour:
        return np.ascontiguousarray(cut[..., :3])
    light = np.asarray(Image.fromarray(np.ascontiguousarray(cut[..., :3])).convert("L"))
    return _ramp(colour)[light]


@functools.cache
def _ramp(colour: str) -> UInt8[np.ndarray, "H C"]:
    """Light from 0 to 255 -> the tint, from a dark of it to a pale one."""
    full = np.array(COLOURS[colour], np.float64)
    light = np.linspace(0, 1, 256)[:, None]
    dark = full * (0.4 + 1.2 * light)
    pale = full + (255 - full) * (2 * light - 1) * 0.45
    return np.rint(np.where(light < 0.5, dark, pale)).astype(np.uint8)
