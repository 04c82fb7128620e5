"""Which part of an image a model sees, and where boxes and masks lie in it."""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor

from deixis.inputs.preprocess import Preprocess

__all__ = ["ASPECT", "Window", "random_window", "seen"]

ASPECT = (3 / 4, 4 / 3)
"""Width by height of a random crop."""


class Window(NamedTuple):
    """A rectangle of an image, in shares of its width and height; beyond 0 to 1 lies padding, and one with x0 > x1 is
    seen mirrored."""

    x0: float
    y0: float
    x1: float
    y1: float

    def show(self, image: UInt8[Tensor, "3 H W"], preprocess: Preprocess) -> Float[Tensor, "3 S S"]:
        """The rectangle, which lies inside the image on whole pixels, as a square of normalised values."""
        height, width = image.shape[1:]
        left, right = sorted((round(self.x0 * width), round(self.x1 * width)))
        cut = image[:, round(self.y0 * height) : round(self.y1 * height), left:right]
        square = dataclasses.replace(preprocess, mode="squash")(cut)
        return square.flip(-1) if self.x0 > self.x1 else square

    def box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
        """A box of the image in shares of the rectangle, cut at its edges; None where it lies outside."""
        across, down = self.x1 - self.x0, self.y1 - self.y0
        xs = sorted(min(1.0, max(0.0, (x - self.x0) / across)) for x in (box[0], box[2]))
        ys = sorted(min(1.0, max(0.0, (y - self.y0) / down)) for y in (box[1], box[3]))
        return (xs[0], ys[0], xs[1], ys[1]) if xs[0] < xs[1] and ys[0] < ys[1] else None

    def mask(self, pixels: Bool[Tensor, "H W"], size: int) -> Bool[Tensor, "S S"]:
        """A mask of the image as it lies in the rectangle, `size` pixels a side; padding belongs to nothing."""
        height, width = pixels.shape
        extent = (self.x0 * width, self.y0 * height, self.x1 * width, self.y1 * height)
        picture = Image.fromarray(pixels.numpy().astype(np.uint8) * 255)
        shown = picture.transform((size, size), Image.Transform.EXTENT, extent, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(shown) > 127)


def seen(preprocess: Preprocess, width: int, height: int) -> Window:
    """The part of an image of `width` x `height` pixels that `preprocess` keeps."""
    if preprocess.mode == "squash":
        return Window(0.0, 0.0, 1.0, 1.0)
    if preprocess.mode == "pad":
        side = max(width, height)
        x, y = -((side - width) // 2) / width, -((side - height) // 2) / height
        return Window(x, y, x + side / width, y + side / height)
    resized = math.floor(preprocess.size / preprocess.crop_share)
    other = int(resized * max(width, height) / min(width, height))
    wide, high = (resized, other) if width <= height else (other, resized)
    half = math.floor if preprocess.mode == "crop_floor" else round
    left, top = half((wide - preprocess.size) / 2), half((high - preprocess.size) / 2)
    return Window(left / wide, top / high, (left + preprocess.size) / wide, (top + preprocess.size) / high)


def random_window(numbers: list[float], width: int, height: int, scale: tuple[float, float]) -> Window:
    """A crop of random area, shape and place on whole pixels, mirrored half of the time.

    Args:
        numbers: five in [0, 1): for area, shape, two of place, mirroring.
        width: of the image, in pixels.
        height: of the image, in pixels.
        scale: the range of the area, as a share of the image's; less where the shape leaves no room.
    """
    area = width * height * (scale[0] + (scale[1] - scale[0]) * numbers[0])
    low, high = map(math.log, ASPECT)
    aspect = math.exp(low + (high - low) * numbers[1])
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    h = min(height, max(1, round(math.sqrt(area / aspect))))
    x, y = int(numbers[2] * (width - w + 1)), int(numbers[3] * (height - h + 1))
    left, right = x / width, (x + w) / width
    x0, x1 = (right, left) if numbers[4] < 0.5 else (left, right)
    return Window(x0, y / height, x1, (y + h) / height)
