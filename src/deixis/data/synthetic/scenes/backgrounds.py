"""Backgrounds: plain, gradients, noise, stripes, dots, and photographs out of focus."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from deixis.data.synthetic.scenes.config import SHADES
from deixis.inputs.images import load_image

__all__ = ["Ground", "words_for"]

_PHOTO = 320  # the shorter side of photographs in memory, in pixels
_COARSE = 14  # what they are reduced to on the way, in pixels


@dataclasses.dataclass(frozen=True)
class Ground:
    """A background.

    Attributes:
        pattern: one of `config.PATTERNS`.
        colour: a key of `config.SHADES`; empty for a photograph.
        seed: what distinguishes two of one kind: their shade, direction, grain or crop.
        photo: the photograph, if it is one.
    """

    pattern: str
    colour: str
    seed: int
    photo: Path | None = None

    @property
    def name(self) -> str:
        """As in `SceneConfig.backgrounds`."""
        return f"{self.pattern} {self.colour}".strip()

    def draw(self, side: int) -> UInt8[np.ndarray, "H W 3"]:
        """Its pixels, `side` by `side`."""
        rng = np.random.Generator(np.random.PCG64(self.seed))
        if self.photo is not None:
            return _crop(self.photo, side, rng)
        base = np.array(SHADES[self.colour], np.int16) + rng.integers(-10, 11, dtype=np.int16)
        weight = _WEIGHTS[self.pattern](side, rng)
        return np.clip(base + weight[..., None], 0, 255).astype(np.uint8)


def words_for(background: str) -> tuple[str, ...]:
    """What may be said of a background, after "on"; the first is the plainest."""
    pattern, _, colour = background.partition(" ")
    return {
        "plain": (f"a plain {colour} background", f"a {colour} background"),
        "gradient": (f"a {colour} background that gets darker to one side", f"a shaded {colour} background"),
        "noise": (f"a grainy {colour} background", f"a rough {colour} background"),
        "stripes": (f"a {colour} background with stripes", f"a striped {colour} background"),
        "dots": (f"a {colour} background with dots", f"a dotted {colour} background"),
        "photo": ("a blurred photograph", "a photograph out of focus"),
    }[pattern]


@functools.lru_cache(maxsize=64)
def _photo(path: Path) -> Image.Image:
    pixels = load_image(path, smallest=_PHOTO).permute(1, 2, 0).numpy()
    image = Image.fromarray(np.ascontiguousarray(pixels))
    scale = _PHOTO / min(image.size)
    return image.resize((max(_PHOTO, round(image.width * scale)), max(_PHOTO, round(image.height * scale))))


def _crop(path: Path, side: int, rng: np.random.Generator) -> UInt8[np.ndarray, "H W 3"]:
    """So blurred that nothing in it can be recognised: what is not in the words must not be in the picture."""
    image = _photo(path)
    edge = int(rng.integers(_PHOTO // 2, _PHOTO + 1))
    x, y = (int(rng.integers(0, length - edge + 1)) for length in image.size)
    coarse = image.resize((_COARSE, _COARSE), Image.Resampling.BILINEAR, box=(x, y, x + edge, y + edge))
    return np.array(coarse.resize((side, side), Image.Resampling.BICUBIC))


def _plain(side: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros((side, side), np.int16)


def _gradient(side: int, rng: np.random.Generator) -> np.ndarray:
    ramp = np.linspace(24, -72, side).astype(np.int16)
    field = np.broadcast_to(ramp[:, None], (side, side))
    return np.rot90(field, int(rng.integers(4)))


def _noise(side: int, rng: np.random.Generator) -> np.ndarray:
    coarse = Image.fromarray(rng.integers(0, 256, (side // 12 + 1, side // 12 + 1), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((side, side), Image.Resampling.BILINEAR)).astype(np.int16)
    fine = rng.integers(-22, 23, (side, side), dtype=np.int8)
    return (smooth - 128) // 4 + fine


def _stripes(side: int, rng: np.random.Generator) -> np.ndarray:
    width = max(2, side // int(rng.integers(10, 18)))
    y, x = np.mgrid[:side, :side]
    along = (x, y, x + y, x - y)[int(rng.integers(4))]
    return np.where((along // width) % 2, -26, 14).astype(np.int16)


def _dots(side: int, rng: np.random.Generator) -> np.ndarray:
    pitch = max(5, side // int(rng.integers(8, 14)))
    y, x = (axis % pitch - pitch / 2 for axis in np.mgrid[:side, :side])
    return np.where(x * x + y * y < (0.28 * pitch) ** 2, -34, 10).astype(np.int16)


_WEIGHTS = {"plain": _plain, "gradient": _gradient, "noise": _noise, "stripes": _stripes, "dots": _dots}
