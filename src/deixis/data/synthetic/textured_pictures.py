"""Small pictures of light things on black, laid over a generated texture: two factors that vary independently."""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
from jaxtyping import Float, UInt8

from deixis.types.samples import Drawing

__all__ = ["TexturedPicture"]

_WAVES, _SHIFT = 3, 3


@dataclasses.dataclass(frozen=True)
class TexturedPicture:
    """A thing on a texture, shifted and lit at random, as a drawing.

    Attributes:
        thing: drawn light on black, a square.
        texture: a number for each texture.
        view: a number for each shift and light.
        contrast: of the texture, from 0 (black) to 1; the thing covers it.
        shown: whether the thing is there at all.
    """

    thing: Drawing
    texture: int
    view: int
    contrast: float = 0.4
    shown: bool = True

    @property
    def name(self) -> str:
        """Such as `fashion/train/00042 on texture 7, view 1`."""
        there = "" if self.shown else ", left out"
        return f"{self.thing.name} on texture {self.texture}, view {self.view}, at {self.contrast:g}{there}"

    def draw(self) -> UInt8[np.ndarray, "H W 3"]:
        """Its pixels; the size is that of the thing."""
        light = self.thing.draw()[..., :1].astype(np.float64) / 255
        behind = self.contrast * _texture(self.texture, len(light))
        share = light if self.shown else np.zeros_like(light)
        return _varied(255 * (behind * (1 - share) + share), _rng("view", self.texture, self.view))


def _rng(*key: object) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(zlib.crc32(repr(key).encode())))


def _texture(number: int, side: int) -> Float[np.ndarray, "H W 3"]:
    """Waves of random direction and length between two colours, from 0 to 1."""
    rng = _rng("texture", number)
    y, x = np.mgrid[:side, :side] / side
    angles, lengths = rng.uniform(0, np.pi, _WAVES), rng.uniform(0.1, 0.5, _WAVES)
    phases = rng.uniform(0, 2 * np.pi, _WAVES)
    turns = [
        np.sin(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / length + phase)
        for a, length, phase in zip(angles, lengths, phases, strict=True)
    ]
    height = (np.sum(turns, axis=0)[..., None] / _WAVES + 1) / 2
    dark, light = rng.uniform(0, 0.5, 3), rng.uniform(0.5, 1.0, 3)
    return dark + (light - dark) * height


def _varied(pixels: Float[np.ndarray, "H W 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """Shifted by a few pixels, perhaps mirrored, lighter or darker."""
    down, right = (int(each) for each in rng.integers(-_SHIFT, _SHIFT + 1, 2))
    moved = np.pad(pixels, ((_SHIFT, _SHIFT), (_SHIFT, _SHIFT), (0, 0)), mode="reflect")
    side = len(pixels)
    moved = moved[_SHIFT + down : _SHIFT + down + side, _SHIFT + right : _SHIFT + right + side]
    moved = moved[:, ::-1] if rng.random() < 0.5 else moved
    return np.clip(moved * rng.uniform(0.7, 1.3), 0, 255).astype(np.uint8)
