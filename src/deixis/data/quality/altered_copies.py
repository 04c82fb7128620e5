"""Altered copies of images, as people make them: crops, recompression, filters, borders, stickers, screenshots."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from deixis.inputs.images import open_image
from deixis.types import Picture, place

__all__ = ["EDITS", "AlteredCopy", "altered"]

_GREY = (128, 128, 128)


@dataclasses.dataclass(frozen=True)
class AlteredCopy:
    """An image after an edit, drawn when it is needed; equal numbers make equal copies.

    Attributes:
        picture: the original.
        edit: one of `EDITS`.
        seed: of the strength and place of the edit.
    """

    picture: Picture
    edit: str
    seed: str

    @property
    def name(self) -> str:
        """For messages."""
        return f"{place(self.picture)} ({self.edit})"

    def draw(self) -> Any:
        """The image as a NumPy array uint8 [H, W, 3]."""
        return np.array(altered(open_image(self.picture), self.edit, self.seed))


def altered(image: Image.Image, edit: str, seed: str) -> Image.Image:
    """An image after an edit.

    Args:
        image: in mode RGB.
        edit: one of `EDITS`.
        seed: of the strength and place of the edit, which differ from edit to edit.
    """
    rng = random.Random(hashlib.sha256(f"{edit}/{seed}".encode()).digest())
    return EDITS[edit](image, rng).convert("RGB")


def _crop(image: Image.Image, rng: random.Random) -> Image.Image:
    """40 to 90 % of the area, of the same shape."""
    side = rng.uniform(0.4, 0.9) ** 0.5
    width, height = (max(1, round(side * each)) for each in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def _jpeg(image: Image.Image, rng: random.Random) -> Image.Image:
    """Quality 20 to 60."""
    memory = io.BytesIO()
    image.save(memory, "JPEG", quality=rng.randint(20, 60))
    return Image.open(memory)


def _colour(image: Image.Image, rng: random.Random) -> Image.Image:
    """Brightness, contrast and saturation, each times 0.6 to 1.4."""
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(0.6, 1.4))
    return image


def _blur(image: Image.Image, rng: random.Random) -> Image.Image:
    """A Gaussian of 0.5 to 2 % of the shorter side."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.005, 0.02) * min(image.size)))


def _mirror(image: Image.Image, rng: random.Random) -> Image.Image:
    return ImageOps.mirror(image)


def _rotation(image: Image.Image, rng: random.Random) -> Image.Image:
    """By 5 to 20 degrees either way; corners are grey."""
    angle = rng.choice((-1, 1)) * rng.uniform(5, 20)
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=_GREY)


def _border(image: Image.Image, rng: random.Random) -> Image.Image:
    """Of one colour, 4 to 15 % of the shorter side on each side."""
    width = max(1, round(rng.uniform(0.04, 0.15) * min(image.size)))
    return ImageOps.expand(image, width, _any_colour(rng))


def _sticker(image: Image.Image, rng: random.Random) -> Image.Image:
    """A disc over 5 to 15 % of the area."""
    image = image.copy()
    width, height = (max(1, round(2 * (rng.uniform(0.05, 0.15) / np.pi) ** 0.5 * each)) for each in image.size)
    left, top = rng.randint(0, image.width - width), rng.randint(0, image.height - height)
    ImageDraw.Draw(image).ellipse((left, top, left + width, top + height), fill=_any_colour(rng))
    return image


def _screenshot(image: Image.Image, rng: random.Random) -> Image.Image:
    """On a grey page with a bar above, at another size and saved as JPEG."""
    scale = rng.uniform(0.5, 0.9)
    shown = image.resize([max(1, round(scale * each)) for each in image.size])
    width, height = round(shown.width * rng.uniform(1.0, 1.3)), round(shown.height * rng.uniform(1.15, 1.4))
    page = Image.new("RGB", (width, height), (245, 245, 245))
    bar = round(0.08 * height)
    ImageDraw.Draw(page).rectangle((0, 0, width, bar), fill=(60, 60, 70))
    page.paste(shown, ((width - shown.width) // 2, bar + rng.randint(0, max(0, height - bar - shown.height))))
    return _jpeg(page, rng)


def _any_colour(rng: random.Random) -> tuple[int, int, int]:
    return rng.randrange(256), rng.randrange(256), rng.randrange(256)


EDITS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "crop": _crop,
    "jpeg": _jpeg,
    "colour": _colour,
    "blur": _blur,
    "mirror": _mirror,
    "rotation": _rotation,
    "border": _border,
    "sticker": _sticker,
    "screenshot": _screenshot,
}
"""Name -> what it does to an image of mode RGB."""
