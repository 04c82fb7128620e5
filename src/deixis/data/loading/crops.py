"""Which part of an image a model sees, and where boxes and masks lie in it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from deixis.inputs.masks import decode_mask
from deixis.inputs.preprocess import Preprocess
from deixis.ops import augmentation
from deixis.types.samples import Region
from deixis.types.specs import Augment

__all__ = [
    "COLOURS",
    "PLACE",
    "WHOLE",
    "Window",
    "box_mask",
    "on_picture",
    "random_window",
    "recoloured",
    "region_mask",
    "seen_mask",
    "visible_window",
]

PLACE, COLOURS = 5, 10
"""Numbers that `random_window` and `recoloured` take for each image."""

_ORDERS = tuple(itertools.permutations(range(4)))
_JITTERS = (augmentation.brightness, augmentation.contrast, augmentation.saturation, augmentation.hue)


class Window(NamedTuple):
    """A rectangle of an image, in shares of its width and height; beyond 0 to 1 lies padding, and one with x0 > x1 is
    mirrored."""

    x0: float
    y0: float
    x1: float
    y1: float

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Its own width and height in pixels, in an image of this size."""
        return abs(round(self.x1 * width) - round(self.x0 * width)), round(self.y1 * height) - round(self.y0 * height)

    def show(
        self, image: UInt8[Tensor, "3 H W"], preprocess: Preprocess, size: tuple[int, int]
    ) -> UInt8[Tensor, "3 h w"]:
        """The rectangle, on whole pixels, resized to a height and a width; what is beyond the image is black."""
        height, width = image.shape[1:]
        left, right = sorted((round(self.x0 * width), round(self.x1 * width)))
        top, bottom = round(self.y0 * height), round(self.y1 * height)
        cut = image[:, max(0, top) : bottom, max(0, left) : right]
        beyond = (max(0, -left), max(0, right - width), max(0, -top), max(0, bottom - height))
        shown = preprocess.resized(F.pad(cut, beyond) if any(beyond) else cut, *size)
        return augmentation.mirror(shown) if self.x0 > self.x1 else shown

    def box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float] | None:
        """A box of the image in shares of the rectangle, cut at its edges; None where it lies outside."""
        across, down = self.x1 - self.x0, self.y1 - self.y0
        xs = sorted(min(1.0, max(0.0, (x - self.x0) / across)) for x in (box[0], box[2]))
        ys = sorted(min(1.0, max(0.0, (y - self.y0) / down)) for y in (box[1], box[3]))
        return (xs[0], ys[0], xs[1], ys[1]) if xs[0] < xs[1] and ys[0] < ys[1] else None

    def mask(self, pixels: Bool[Tensor, "H W"], size: tuple[int, int]) -> Bool[Tensor, "h w"]:
        """A mask of the image as it lies in the rectangle, `size` pixels high and wide; padding belongs to nothing."""
        height, width = pixels.shape
        extent = (self.x0 * width, self.y0 * height, self.x1 * width, self.y1 * height)
        picture = Image.fromarray(pixels.numpy().astype(np.uint8) * 255)
        shown = picture.transform(size[::-1], Image.Transform.EXTENT, extent, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(shown) > 127)


WHOLE = Window(0.0, 0.0, 1.0, 1.0)
"""All of an image."""


def visible_window(preprocess: Preprocess, width: int, height: int) -> Window:
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


def region_mask(region: Region, window: Window, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The pixels of a region as it lies in the rectangle, `size` pixels high and wide; none where it has no mask."""
    return torch.zeros(size, dtype=torch.bool) if region.mask is None else window.mask(decode_mask(region.mask), size)


def box_mask(box: tuple[float, float, float, float], window: Window, size: tuple[int, int]) -> Bool[Tensor, "h w"]:
    """The pixels whose middle lies inside a box, in the rectangle, `size` pixels high and wide.

    >>> box_mask((0.0, 0.0, 0.5, 1.0), WHOLE, (1, 4)).tolist()
    [[True, True, False, False]]
    """
    height, width = size
    x = window.x0 + (torch.arange(width) + 0.5) / width * (window.x1 - window.x0)
    y = window.y0 + (torch.arange(height) + 0.5) / height * (window.y1 - window.y0)
    return ((box[1] <= y) & (y <= box[3]))[:, None] & ((box[0] <= x) & (x <= box[2]))


def seen_mask(region: Region, preprocess: Preprocess) -> Bool[Tensor, "S S"]:
    """What a model sees of a region that has a mask."""
    assert region.mask is not None
    window = visible_window(preprocess, region.mask.width, region.mask.height)
    return region_mask(region, window, (preprocess.size, preprocess.size))


def on_picture(
    values: Float[Tensor, "H W"], window: Window, size: tuple[int, int]
) -> tuple[Float[Tensor, "_h _w"], Bool[Tensor, "_h _w"]]:
    """A map of what a model saw, laid over the picture that it was cut from; 0 where the model saw nothing.

    Args:
        values: the map.
        window: the part of the picture that it covers.
        size: of the picture: width and height in pixels.

    Returns:
        The map, and which pixels were visible.
    """
    x, y = (
        (2 * ((torch.arange(count) + 0.5) / count - low) / (high - low) - 1).to(values)
        for count, low, high in zip(size, window[:2], window[2:], strict=True)
    )
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)
    found = F.grid_sample(values[None, None], grid[None], padding_mode="border", align_corners=False)[0, 0]
    inside = (grid.abs() <= 1).all(-1)
    return found * inside, inside


def random_window(numbers: Sequence[float], width: int, height: int, augment: Augment) -> Window:
    """A crop of random area, shape and place on whole pixels, mirrored or not.

    Args:
        numbers: `PLACE` of them in [0, 1): for area, shape, two of place, mirroring.
        width: of the image, in pixels.
        height: of the image, in pixels.
        augment: how large and of which shape; smaller where the shape leaves no room.
    """
    w, h = _size(numbers, width, height, augment)
    across, down = round(augment.pad * width), round(augment.pad * height)
    x = int(numbers[2] * (width + 2 * across - w + 1)) - across
    y = int(numbers[3] * (height + 2 * down - h + 1)) - down
    left, right = x / width, (x + w) / width
    x0, x1 = (right, left) if numbers[4] < augment.flip else (left, right)
    return Window(x0, y / height, x1, (y + h) / height)


def _size(numbers: Sequence[float], width: int, height: int, augment: Augment) -> tuple[int, int]:
    share = augment.scale[0] + (augment.scale[1] - augment.scale[0]) * numbers[0]
    if augment.shape == "square":
        side = max(1, round(math.sqrt(share) * min(width, height)))
        return side, side
    if augment.shape == "image":
        return max(1, round(math.sqrt(share) * width)), max(1, round(math.sqrt(share) * height))
    area = width * height * share
    low, high = map(math.log, augment.ratio)
    aspect = math.exp(low + (high - low) * numbers[1])
    w = min(width, max(1, round(math.sqrt(area * aspect))))
    return w, min(height, max(1, round(math.sqrt(area / aspect))))


def recoloured(
    images: UInt8[Tensor, "B 3 H W"], augment: Augment, numbers: Float[Tensor, "B n"]
) -> UInt8[Tensor, "B 3 H W"]:
    """A batch of images with other colours, blurred and solarised: each as its own numbers say.

    Args:
        images: of one size.
        augment: what is varied, by how much and how often.
        numbers: `COLOURS` of them for each image, in [0, 1): whether colours are changed, by how much (4), in which
            order; whether it is grey, whether and how much it is blurred, whether it is solarised.
    """
    images = images.clone(memory_format=torch.contiguous_format)  # channels last takes up to three times as long
    _jitter(images, augment, numbers)
    _change(images, numbers[:, 6] < augment.grey, augmentation.grey)
    low, high = augment.sigma
    sigma, kernel = low + (high - low) * numbers[:, 8], 2 * math.ceil(3 * high) + 1
    kernel = min(kernel, 2 * min(images.shape[-2:]) - 1)
    _change(images, numbers[:, 7] < augment.blur, lambda some, s: augmentation.blur(some, s, kernel), sigma)
    _change(images, numbers[:, 9] < augment.solarise, augmentation.solarise)
    return images


def _jitter(images: Tensor, augment: Augment, numbers: Tensor) -> None:
    """Changes colours in place: the first change of each image, then the second of each, and so on."""
    amounts = 2 * numbers[:, 1:5] - 1
    amounts = amounts * torch.tensor(augment.jitter, dtype=numbers.dtype)
    amounts[:, :3] = (1 + amounts[:, :3]).clamp(min=0)
    chosen = numbers[:, 0] < augment.jitter_chance
    orders = torch.tensor(_ORDERS)[(numbers[:, 5] * len(_ORDERS)).long()]
    for step, kind in itertools.product(range(4), range(4)):
        if augment.jitter[kind]:
            _change(images, chosen & (orders[:, step] == kind), _JITTERS[kind], amounts[:, kind])


_TOGETHER = 1 << 16
"""Pixels that are changed at a time: few enough for the processor's cache, and enough to be worth a call."""


def _change(images: Tensor, rows: Tensor, change: Callable[..., Tensor], *amounts: Tensor) -> None:
    """Changes some of the images in place, a few at a time."""
    found, few = rows.nonzero()[:, 0], max(1, _TOGETHER // (images.shape[2] * images.shape[3]))
    for some in (found[at : at + few] for at in range(0, len(found), few)):
        changed = change(images.index_select(0, some), *(amount[some] for amount in amounts))
        for row, image in zip(some.tolist(), changed, strict=True):  # by index, bytes are put one by one
            images[row] = image
