"""Overlapping windows of an image, and one map out of theirs: the mean of all that cover a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from deixis.ops.maps import resize

__all__ = ["WindowBox", "mean_of_windows", "sliding_windows"]


class WindowBox(NamedTuple):
    """A rectangle of an image, in pixels, its ends exclusive."""

    x0: int
    y0: int
    x1: int
    y1: int


def sliding_windows(height: int, width: int, side: int, stride: int) -> list[WindowBox]:
    """Square windows that cover an image, row by row; the last ones end at its edge.

    An image that is smaller than a window has one of its own height or width there.

    Args:
        height: of the image.
        width: of the image.
        side: of the windows.
        stride: from window to window, at the most.

    >>> sliding_windows(4, 7, 4, 2)[1:]
    [WindowBox(x0=2, y0=0, x1=6, y1=4), WindowBox(x0=3, y0=0, x1=7, y1=4)]
    """
    high, wide = min(side, height), min(side, width)
    return [
        WindowBox(x, y, x + wide, y + high) for y in _starts(height, high, stride) for x in _starts(width, wide, stride)
    ]


def _starts(size: int, side: int, stride: int) -> list[int]:
    return [*range(0, size - side, stride), size - side]


def mean_of_windows(
    maps: Sequence[Float[Tensor, "C _h _w"]], boxes: Sequence[WindowBox], size: tuple[int, int]
) -> Float[Tensor, "C H W"]:
    """The mean, at each pixel, of the maps of the windows that cover it; 0 where none does.

    Args:
        maps: one a window, at any size: each is resized to its window.
        boxes: the windows.
        size: height and width of the image.
    """
    total, count = maps[0].new_zeros(len(maps[0]), *size), maps[0].new_zeros(size)
    for each, box in zip(maps, boxes, strict=True):
        total[:, box.y0 : box.y1, box.x0 : box.x1] += resize(each, (box.y1 - box.y0, box.x1 - box.x0))
        count[box.y0 : box.y1, box.x0 : box.x1] += 1
    return total / count.clamp(min=1)
