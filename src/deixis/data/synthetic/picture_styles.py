"""Small pictures of light things on black, drawn in another style: for models that meet styles they never saw."""

from __future__ import annotations

import dataclasses
import functools
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageFilter

from deixis.data.synthetic.scenes.backgrounds import Ground
from deixis.inputs.images import load_image
from deixis.types import Picture
from deixis.types.samples import Drawing

__all__ = ["SEEN", "UNSEEN", "StyledPicture"]

SEEN = ("plain", "tinted", "zoomed", "noisy", "photo")
"""Styles of what nobody chose."""

UNSEEN = ("contrast", "rotation", "blur", "sketch")
"""Styles that only tests have."""

Pixels = UInt8[np.ndarray, "H W 3"]


@dataclasses.dataclass(frozen=True)
class StyledPicture:
    """A picture in a style, as a drawing.

    Attributes:
        picture: light things on black, of any size.
        style: one of `SEEN` or `UNSEEN`.
        seed: of what the style draws at random.
        side: of the drawing, in pixels.
        photo: the photograph behind things, for the style `photo`.
    """

    picture: Picture
    style: str
    seed: int
    side: int
    photo: Path | None = None

    @property
    def name(self) -> str:
        """Such as `fashion/train/00042 in sketch`."""
        return f"{getattr(self.picture, 'name', self.picture)} in {self.style}"

    def draw(self) -> Pixels:
        """Its pixels."""
        rng = np.random.Generator(np.random.PCG64((zlib.crc32(self.name.encode()), self.seed)))
        pixels = _small(self.picture, self.side)
        if self.style == "photo" and self.photo is not None:
            behind = Ground("photo", "", int(rng.integers(2**31)), self.photo).draw(self.side)
            light = pixels.max(axis=2, keepdims=True) / 255
            return _whole(pixels * light + behind * (1 - light))
        return _STYLES[self.style](pixels, rng)


def _small(picture: Picture, side: int) -> Pixels:
    if isinstance(picture, Drawing):
        pixels: np.ndarray = picture.draw()
        return pixels if len(pixels) == side else np.array(Image.fromarray(pixels).resize((side, side)))
    return _read(Path(str(picture)), side)


@functools.lru_cache(maxsize=8192)
def _read(path: Path, side: int) -> Pixels:
    pixels = load_image(path, smallest=2 * side).permute(1, 2, 0).numpy()
    return np.array(Image.fromarray(np.ascontiguousarray(pixels)).resize((side, side), Image.Resampling.BOX))


def _whole(values: Float[np.ndarray, "H W 3"]) -> Pixels:
    return np.clip(values, 0, 255).astype(np.uint8)


def _tinted(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Black and white become two colours."""
    dark, light = rng.uniform(0, 110, 3), rng.uniform(110, 255, 3)
    return _whole(dark + (light - dark) * pixels / 255)


def _zoomed(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    side = len(pixels)
    edge = int(rng.integers(round(0.5 * side), round(0.8 * side) + 1))
    x, y = rng.integers(0, side - edge + 1, 2).tolist()
    return np.array(Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR, (x, y, x + edge, y + edge)))


def _noisy(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return _whole(pixels + rng.normal(0, rng.uniform(15, 60), pixels.shape))


def _contrast(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Greys from a narrow range, anywhere between black and white."""
    spread = rng.uniform(0.15, 0.3)
    return _whole(rng.uniform(0, 255 * (1 - spread)) + spread * pixels.astype(np.float64))


def _rotated(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    angle = float(rng.uniform(30, 60) * rng.choice((-1, 1)))
    return np.array(Image.fromarray(pixels).rotate(angle, Image.Resampling.BILINEAR))


def _blurred(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    radius = float(rng.uniform(1.2, 2.2) * len(pixels) / 28)
    return np.array(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _sketched(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Dark lines where the light changes, on white."""
    grey = pixels.mean(axis=2)
    lines = np.hypot(*np.gradient(grey))
    return _whole(255 - 2.5 * np.repeat(lines[..., None], 3, axis=2))


_STYLES: Mapping[str, Callable[[Pixels, np.random.Generator], Pixels]] = {
    "plain": lambda pixels, rng: pixels,
    "photo": lambda pixels, rng: pixels,
    "tinted": _tinted,
    "zoomed": _zoomed,
    "noisy": _noisy,
    "contrast": _contrast,
    "rotation": _rotated,
    "blur": _blurred,
    "sketch": _sketched,
}
