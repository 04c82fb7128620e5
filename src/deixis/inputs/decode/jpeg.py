"""Pixels of a JPEG by simplejpeg where it is installed (the extra `data`), which hands over an array without a copy.

Both simplejpeg and Pillow stand on libjpeg-turbo, and their pixels are equal bit for bit at every scale. simplejpeg
takes what is plain and whole; anything else (CMYK, damaged, cut short) is left to Pillow, which also says what is wrong
with it. torchvision's decoder gives the same pixels, but no reduced scales, and is no faster.
"""

from __future__ import annotations

import functools
import importlib
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["decode", "decoder"]

_COLOURS = ("YCbCr", "RGB", "Gray")
_SMALLEST = 8


def decoder() -> str:
    """The package that decodes JPEGs to arrays here: `simplejpeg` or `Pillow`."""
    return "Pillow" if _library() is None else "simplejpeg"


def decode(data: bytes, size: tuple[int, int], layout: Literal["RGB", "RGBX"] = "RGB") -> NDArray[np.uint8] | None:
    """The pixels of a JPEG as stored (no EXIF turn), in RGB.

    Args:
        data: the whole file; what follows the first image in it is not read.
        size: width and height to decode at: those of the file, or as Pillow's `draft` halves them.
        layout: `RGBX` adds a fourth byte to each pixel, which is how Pillow keeps them.

    Returns:
        [H, W, 3], or 4; None where Pillow has to decode it.
    """
    library = _library()
    if library is None or max(size) < _SMALLEST:  # several of libjpeg's scales lead to so small a size
        return None
    least = {"min_width": size[0], "min_height": size[1]}
    try:
        height, width, colours, _ = library.decode_jpeg_header(data, **least)
        if (width, height) != size or colours not in _COLOURS:
            return None
        pixels: NDArray[np.uint8] = library.decode_jpeg(data, layout, **least)
    except Exception:  # whatever it is, Pillow meets it again and gives it a name
        return None
    return pixels


@functools.cache
def _library() -> ModuleType | None:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None
