"""Pillow images of any mode as a person would see them: in RGB on white, 16 bits scaled to 8, turned upright."""

from __future__ import annotations

import numpy as np
from PIL import Image

__all__ = ["orientation", "to_rgb", "turned", "upright"]

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SAYS_ORIENTATION = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp", "Raw profile type xmp")
"""What Pillow reads an orientation from."""


def upright(picture: Image.Image, *, is_ours: bool = False) -> Image.Image:
    """The image in mode RGB.

    Args:
        picture: opened; it is decoded here.
        is_ours: nobody else has it, so the result may be the picture itself: a copy of 12 megapixels takes 49 MB, and a
            sixth of the time that decoding and resizing take.
    """
    picture.load()
    as_it_is = is_ours and picture.mode == "RGB" and not picture.has_transparency_data
    return turned(picture if as_it_is else to_rgb(picture), orientation(picture))


def turned(picture: Image.Image, orientation: int) -> Image.Image:
    """An image as stored, turned as its EXIF orientation (1 to 8) says; the result has none, so it is turned once."""
    turn = _TURNS.get(orientation)
    if turn is None:
        return picture
    result = picture.transpose(turn)
    for each in _SAYS_ORIENTATION:
        result.info.pop(each, None)
    return result


def to_rgb(picture: Image.Image) -> Image.Image:
    """Any mode of Pillow's as RGB, on white where it is transparent."""
    if picture.mode.startswith("I") or picture.mode == "F":
        return _from_deep(picture)
    if not picture.has_transparency_data:
        return picture.convert("RGB")
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}[picture.mode])
    rgba = picture.convert("RGBA")
    white = Image.new("RGB", picture.size, (255, 255, 255))
    white.paste(rgba, mask=rgba)
    return white


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 where there is none, or none that can be read."""
    try:
        told = int(picture.getexif().get(0x0112, 1))
    except Exception:  # EXIF is a small file system of its own, broken in as many ways
        return 1
    return told if told in _TURNS else 1


def _from_deep(picture: Image.Image) -> Image.Image:
    """Grey values of more than 8 bits, scaled to 8.

    `I;16` holds 0 to 65535. In `I` and `F` the range is not told: the first of 1 (`F` only), 255, 65535 that holds all
    values, else their largest, is taken for white. Below 0 and not-a-number is black.
    """
    values = np.asarray(picture)
    if picture.mode.startswith("I;16"):
        steps = ((np.arange(65536, dtype=np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
        grey = steps[values]
        transparent = picture.info.get("transparency")
        if isinstance(transparent, int):
            grey[values == transparent] = 255
    else:
        values = np.nan_to_num(values.astype(np.float32), posinf=0.0, neginf=0.0)
        largest = float(values.max())
        tops = (1.0, 255.0, 65535.0) if picture.mode == "F" else (255.0, 65535.0)
        top = next((top for top in tops if largest <= top), largest)
        grey = np.clip(np.rint(values * (255.0 / top)), 0, 255).astype(np.uint8)
    return Image.fromarray(grey).convert("RGB")
