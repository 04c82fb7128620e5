"""Clothes in one of eight colours, with captions that name both: few words, and pictures that small models learn."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from deixis.data import catalogue
from deixis.data.synthetic.scenes.config import COLOURS
from deixis.data.synthetic.scenes.wording import article
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.types import Picture, Sample, Source, place

__all__ = ["GROUNDS", "PARTS", "WORDINGS", "ColouredPicture", "coloured_clothes"]

PARTS = {
    "train": ("fashion/train", 0, 50_000),
    "val": ("fashion/train", 50_000, 60_000),
    "test": ("fashion/test", 0, 0),
}
"""Part -> the set that its pictures are of, the first of them and the one after the last (0: all)."""

WORDINGS = ("{colour} {label}", "{one} {colour} {label}", "a photo of {one} {colour} {label}", "{label} in {colour}")
"""How captions name a thing and its colour."""

GROUNDS = (20, 235)
"""The darkest grey of a ground, and the one above the lightest."""


@dataclasses.dataclass(frozen=True)
class ColouredPicture:
    """A light thing on black, drawn in a colour on a grey ground.

    Attributes:
        picture: that is coloured.
        colour: one of `COLOURS`.
        ground: grey of the ground, 0 to 255.
        side: of the drawing, in pixels.
    """

    picture: Picture
    colour: str
    ground: int
    side: int

    @property
    def name(self) -> str:
        """Such as `fashion/train/00042 in red`."""
        return f"{place(self.picture)} in {self.colour}"

    def draw(self) -> UInt8[NDArray[np.uint8], "S S 3"]:
        """Its pixels."""
        pixels = np.ascontiguousarray(load_image(self.picture).permute(1, 2, 0).numpy())
        small = Image.fromarray(pixels).resize((self.side, self.side), Image.Resampling.BILINEAR)
        light = np.asarray(small, dtype=np.float32) / 255
        there = np.minimum(1.0, 4 * light)
        drawn = there * light * np.array(COLOURS[self.colour]) + (1 - there) * self.ground
        return np.round(drawn).astype(np.uint8)


def coloured_clothes(seed: int, count: int, part: str = "train", side: int = 32) -> Source:
    """Pictures of clothes, each in a colour, with one caption; the label is what it is.

    Args:
        seed: of which pictures, and of their colours and wordings.
        count: how many.
        part: one of `PARTS`; no picture is in two.
        side: of the pictures, in pixels.

    Raises:
        DeixisError: there are not so many, or the set is not in the cache.
    """
    name, first, last = PARTS[part]
    whole = catalogue.read(name)
    samples = whole.samples[first : last or None]
    if not 0 < count <= len(samples):
        raise DeixisError(f"{count} pictures of clothes are requested.", f"There are {len(samples)} in {part!r}.")
    rng = np.random.Generator(np.random.PCG64((seed, zlib.crc32(part.encode()))))
    order = rng.permutation(len(samples))[:count]
    return dataclasses.replace(
        whole, name="coloured clothes", kind="captions", samples=tuple(_coloured(samples[i], rng, side) for i in order)
    )


def _coloured(sample: Sample, rng: np.random.Generator, side: int) -> Sample:
    colour, wording = str(rng.choice(list(COLOURS))), str(rng.choice(WORDINGS))
    label, ground = str(sample.label), int(rng.integers(*GROUNDS))
    caption = wording.format(colour=colour, label=label, one=article(colour if "{one} {colour}" in wording else label))
    picture = ColouredPicture(sample.picture, colour, ground, side)
    return dataclasses.replace(sample, id=f"{sample.id} {colour}", image=picture, captions=(caption,), split="")
