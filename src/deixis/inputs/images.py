"""Decodes an image file to uint8 [3, H, W] as a person would see it, or says in one sentence why it can't.

Turned upright (EXIF), composited on white where it is transparent, 16 bits scaled to 8, the first frame of what is
animated. Colour profiles are not applied, as in the pipelines that image-text models were trained with. All functions
may be called from many threads at once.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from deixis.errors import DeixisError
from deixis.files import content_hash
from deixis.inputs.decode import jpeg
from deixis.inputs.decode.strips import factor_of, reduced
from deixis.inputs.decode.upright import orientation, turned, upright
from deixis.inputs.duplicates import NEAR_DUPLICATE_BITS, perceptual_hash
from deixis.inputs.formats import FORMATS, IMAGE_SUFFIXES
from deixis.inputs.opening import IN_FORCE, JPEGS, MAX_PIXELS, ImageError, ImageSource, Reason, is_source, opened
from deixis.inputs.pixels import EXPECTED, PixelArray, describe
from deixis.types.samples import Member, Picture, Stored

__all__ = [
    "FORMATS",
    "IMAGE_SUFFIXES",
    "MAX_PIXELS",
    "NEAR_DUPLICATE_BITS",
    "ImageError",
    "ImageInfo",
    "ImageSource",
    "Reason",
    "is_single",
    "load_image",
    "open_image",
    "perceptual_hash",
    "picture_hash",
    "pictures_in",
    "probe",
    "shown_size",
]

_TURNED = (5, 6, 7, 8)  # EXIF orientations whose sides change places
_SMALL = 1_000_000  # of more pixels, one more copy costs what a faster decoder wins


class ImageInfo(NamedTuple):
    """What a file's header says: Pillow's name of the format, the size as stored (an EXIF turn not applied) in pixels,
    Pillow's mode, the number of frames."""

    format: str
    width: int
    height: int
    mode: str
    frames: int


def load_image(
    source: ImageSource, *, max_pixels: int = IN_FORCE, smallest: int | None = None
) -> UInt8[Tensor, "3 H W"]:
    """Decodes an image as a person would see it.

    Args:
        source: a path, a member of a shard, a drawing, the bytes of a file, a Pillow image (which is left as it is),
            an array [H, W, 3] or a tensor [3, H, W], of uint8 or of floats from 0 to 1.
        max_pixels: the most width x height that is decoded; checked on the header, before any memory is taken. 0: the
            limit in force, `MAX_PIXELS` unless `opening.allow_pixels` set another.
        smallest: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps so many pixels;
            other formats are decoded whole, unless they have more than `MAX_PIXELS`. These, too, come smaller, by a
            whole factor; TIFF and PNG are then decoded a band of rows at a time, and never in memory as a whole.

    Returns:
        RGB values from 0 to 255, the same whichever decoder is installed; channels are last in memory (call
        `contiguous()` where that matters).

    Raises:
        ImageError: the image is missing, broken, too large or of a format that is not read; see `reason`.
    """
    with opened(source, max_pixels=max_pixels, smallest=smallest) as picture:
        pixels = None if picture is source else _plain_jpeg(picture, "RGB")
        if pixels is None:
            pixels = np.array(_whole(picture, source, smallest))
    return torch.from_numpy(pixels).permute(2, 0, 1)


def open_image(source: ImageSource, *, max_pixels: int = IN_FORCE, smallest: int | None = None) -> Image.Image:
    """As `load_image`, with the same pixels, but a Pillow image: for what Pillow goes on with, two copies less.

    Returns:
        A new image in mode RGB.

    Raises:
        ImageError: as `load_image`.
    """
    with opened(source, max_pixels=max_pixels, smallest=smallest) as picture:
        pixels = None
        if picture is not source and picture.width * picture.height < _SMALL:
            pixels = _plain_jpeg(picture, "RGBX")
        if pixels is None:
            return _whole(picture, source, smallest)
        return Image.frombytes("RGB", picture.size, pixels, "raw", "RGBX")


def pictures_in(images: Any) -> list[Any]:
    """One picture or several as a list: a list or tuple as it is, a batch of arrays or tensors one by one.

    Args:
        images: a picture in any form, a list of them, or an array [B, H, W, 3] or tensor [B, 3, H, W].

    Raises:
        DeixisError: there is no picture, or it is in no form that is known.
    """
    if isinstance(images, PixelArray) and images.ndim == 4:
        images = [*images]  # type: ignore[misc]
    found = list(images) if isinstance(images, Iterable) and not is_source(images) else [images]
    if not found:
        raise DeixisError("No picture was given: the list is empty.", "Give at least one.")
    for index, each in enumerate(found):
        if not is_source(each):
            place = f"Number {index} of the pictures" if len(found) > 1 else "The picture given"
            raise DeixisError(
                f"{place} is {describe(each)}.", f"Give a path, a Pillow image, {EXPECTED}, or a list of them."
            )
    return found


def is_single(images: Any) -> bool:
    """Whether it is one picture in any form, and no list or batch of several."""
    return is_source(images) and not (isinstance(images, PixelArray) and images.ndim == 4)


def shown_size(source: ImageSource) -> tuple[int, int]:
    """Width and height of a picture as it is shown, its EXIF turn applied; no pixel is decoded.

    Raises:
        ImageError: as `load_image`, as far as the header tells.
    """
    with opened(source, max_pixels=None) as picture:
        width, height = picture.size
        return (height, width) if orientation(picture) in _TURNED else (width, height)


def probe(source: ImageSource) -> ImageInfo:
    """Reads an image's header; no pixel is decoded (but frames of a GIF are counted to its end), and no limit applies
    (but icons of more than 16 megapixels are refused, as Pillow decodes them on opening).

    Raises:
        ImageError: as `load_image`, as far as the header tells.
    """
    with opened(source, max_pixels=None) as picture:
        try:
            frames = int(getattr(picture, "n_frames", 1))
        except Exception:  # a plugin that walks through a broken file may raise anything
            frames = 1
        return ImageInfo(picture.format or "", picture.width, picture.height, picture.mode, frames)


def picture_hash(picture: Picture) -> str:
    """The SHA-256 of an image's bytes in its file or shard, or of a drawing's pixels, in hexadecimal."""
    if isinstance(picture, Path):
        return content_hash(picture)
    if isinstance(picture, Member | Stored):
        return hashlib.sha256(picture.read()).hexdigest()
    pixels = np.ascontiguousarray(picture.draw())
    return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()


def _whole(picture: Image.Image, source: ImageSource, smallest: int | None) -> Image.Image:
    """A picture upright; a very large one reduced while it is decoded, where its format allows that."""
    if picture is not source and picture.width * picture.height > MAX_PIXELS:
        small = reduced(picture, factor_of(picture.size, smallest))
        if small is not None:  # Pillow decodes a PNG to look for EXIF behind its pixels
            return (
                small if picture.format == "PNG" and "exif" not in picture.info else turned(small, orientation(picture))
            )
    return upright(picture, is_ours=picture is not source)


def _plain_jpeg(picture: Image.Image, layout: Literal["RGB", "RGBX"]) -> NDArray[np.uint8] | None:
    """The pixels [H, W, 3 or 4] of a JPEG that stands upright and is neither CMYK nor damaged; None for all else."""
    stream: io.BufferedIOBase | None = getattr(picture, "fp", None)
    plain = picture.format in JPEGS and picture.mode in ("L", "RGB") and orientation(picture) == 1
    if stream is None or not plain:
        return None
    stream.seek(0)
    return jpeg.decode(stream.read(), picture.size, layout)
