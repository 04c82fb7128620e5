"""A picture with its transparency: what is cut out on nothing, such as a stamp or an emoji, with an exact mask.

`load_image` shows what is transparent on white; here the colours stay as they are and alpha stays beside them, so that
the cut-out can be pasted on anything, and the pixels that belong to it are known.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image

from deixis.errors import DeixisError
from deixis.inputs.decode.upright import orientation, to_rgb, turned
from deixis.inputs.masks import encode_mask
from deixis.inputs.opening import MAX_PIXELS, ImageError, ImageSource, name_of, opened
from deixis.types.samples import Mask

__all__ = ["FAINT", "is_cut_out", "load_cutout", "region_of"]

FAINT = 8
"""Alpha below this (3 % of 255) is not seen; it does not widen the crop."""


def load_cutout(
    source: ImageSource, *, side: int | None = None, crop: bool = True, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "H W 4"]:
    """Decodes a picture with its transparency, turned upright and cropped to what is visible.

    Args:
        source: as for `inputs.images.load_image`.
        side: the longer side of the result in pixels, up or down; colours are weighted with alpha, so that those of
            invisible pixels do not bleed in. By default the size stays.
        crop: whether the invisible margin is cut off; it is never counted among the pixels seen.
        max_pixels: the most width x height that is decoded; checked on the header, before any memory is taken.

    Returns:
        Red, green, blue (not multiplied with alpha) and alpha, from 0 to 255, channels last; alpha is 255 throughout
        where the picture has no transparency.

    Raises:
        ImageError: the picture is missing, broken, too large, of a format that is not read, or there is nothing to
            see in it; see `reason`.
        DeixisError: `side` is less than 1, or longer than `max_pixels` allows.
    """
    if side is not None and not (side >= 1 and side * side <= max_pixels):
        raise DeixisError(
            f"A cut-out is requested with a side of {side:,} pixels.",
            f"Ask for 1 to {int(max_pixels**0.5):,} pixels, or raise the limit (max_pixels).",
        )
    with opened(source, max_pixels=max_pixels) as picture:
        picture.load()
        rgba = turned(_to_rgba(picture), orientation(picture))
    if crop:
        rgba = rgba.crop(_visible(rgba, name_of(source)))
    return np.array(rgba if side is None else _resized(rgba, side))


def is_cut_out(pixels: UInt8[np.ndarray, "H W 4"]) -> bool:
    """Whether some of the pixels are not seen: a picture that fills its whole frame is no cut-out."""
    return bool((pixels[..., 3] < FAINT).any())


def region_of(pixels: UInt8[np.ndarray, "H W 4"]) -> tuple[tuple[float, float, float, float], Mask]:
    """Box (x0 y0 x1 y1, from 0 to 1) and mask of the pixels whose alpha is one half or more.

    Raises:
        DeixisError: there are none.
    """
    solid = pixels[..., 3] >= 128
    if not solid.any():
        raise DeixisError("A cut-out has no pixel with an alpha of one half or more.", "Leave it out.")
    height, width = solid.shape
    rows, columns = np.flatnonzero(solid.any(1)), np.flatnonzero(solid.any(0))
    left, upper, right, lower = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    box = (float(left / width), float(upper / height), float(right / width), float(lower / height))
    return box, encode_mask(torch.from_numpy(solid))


def _to_rgba(picture: Image.Image) -> Image.Image:
    """Any mode of Pillow's as RGBA; grey of more than 8 bits is opaque."""
    if not picture.has_transparency_data or picture.mode.startswith("I"):
        return to_rgb(picture).convert("RGBA")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    return picture.convert("RGBA")


def _visible(rgba: Image.Image, name: str) -> tuple[int, int, int, int]:
    """The box (left, upper, right, lower) of the pixels that are seen."""
    box = rgba.getchannel("A").point([0] * FAINT + [255] * (256 - FAINT)).getbbox()
    if box is None:
        raise ImageError(f"{name} shows nothing: all of it is transparent.", "Leave it out.", "corrupt")
    return box


def _resized(rgba: Image.Image, side: int) -> Image.Image:
    """The longer side made `side`; Pillow itself multiplies with alpha before it resizes, and divides after."""
    scale = side / max(rgba.size)
    size = (max(1, round(rgba.width * scale)), max(1, round(rgba.height * scale)))
    return rgba.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
