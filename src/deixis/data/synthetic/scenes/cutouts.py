"""Cut-outs, and their pixels at the size that a scene needs; decoded once a process, in a small size."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from deixis.data.synthetic.scenes.shapes import Shape
from deixis.inputs.cutouts import load_cutout

__all__ = ["LONGEST", "SOLID", "Cutout", "pixels", "size_of"]

LONGEST = 128
"""The longer side, in pixels, of cut-outs in memory; nothing in a scene is larger."""

SOLID = 128
"""A pixel whose alpha is at least this belongs to the thing."""


@dataclasses.dataclass(frozen=True)
class Cutout:
    """A thing cut out on nothing.

    Attributes:
        name: unique in its cast.
        noun: what it shows, in the singular.
        picture: where its pixels are.
        style: `photo`, `drawing`, `emoji`, `shape`...
        groups: keys of the concepts it belongs to, as `Sample.groups`.
    """

    name: str
    noun: str
    picture: Path | Shape
    style: str = ""
    groups: tuple[str, ...] = ()


@functools.lru_cache(maxsize=1024)
def _cached(picture: Path | Shape) -> Image.Image:
    """The cut-out without margin, its colours multiplied with alpha, so that it can be resized as it is."""
    array = picture.draw(LONGEST) if isinstance(picture, Shape) else load_cutout(picture, side=LONGEST)
    return Image.fromarray(array).convert("RGBa")


@functools.lru_cache(maxsize=1024)
def _half(picture: Path | Shape) -> Image.Image:
    """The same, for what is to be small: reducing it costs a quarter."""
    return _cached(picture).reduce(2)


def size_of(picture: Path | Shape, longest: int) -> tuple[int, int]:
    """Width and height of a cut-out whose longer side is to be `longest` pixels."""
    cutout_image = _cached(picture)
    scale = longest / max(cutout_image.size)
    return max(1, round(cutout_image.width * scale)), max(1, round(cutout_image.height * scale))


@functools.lru_cache(maxsize=256)
def pixels(picture: Path | Shape, size: tuple[int, int], flip: bool = False) -> UInt8[np.ndarray, "H W 4"]:
    """Red, green, blue and alpha of a cut-out; not to be written to.

    Args:
        picture: where its pixels are.
        size: width and height in pixels, as `size_of` gives them.
        flip: mirrored left to right.
    """
    source = _cached(picture) if max(size) > LONGEST // 2 else _half(picture)
    image = source.resize(size, Image.Resampling.BILINEAR).convert("RGBA")
    if flip:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    array = np.array(image)
    array.flags.writeable = False
    return array
