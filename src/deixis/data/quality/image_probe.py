"""One look at an image: its bytes are read once, and give hash, header and pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deixis.data.readers.captions import excerpt
from deixis.errors import DeixisError
from deixis.inputs.contents import contents
from deixis.inputs.duplicates import perceptual_hash
from deixis.inputs.images import FORMATS, open_image, probe
from deixis.inputs.opening import ImageSource, name_of
from deixis.inputs.read_ahead import read_ahead
from deixis.types.samples import Member, Picture, Sample, Skipped

__all__ = ["THUMBNAIL", "ImageProbe", "left_out", "misnamed", "probe_image", "probe_images"]

THUMBNAIL = 8
"""Side of the small image that near-duplicates are compared by."""

_DECODED, _HASHED = 128, 32
_AHEAD = 512
_RELATED = {"MPO": "JPEG", "DIB": "BMP"}


@dataclasses.dataclass(frozen=True)
class ImageProbe:
    """What one look at an image gave.

    Attributes:
        hash: SHA-256 of its bytes; empty for words alone.
        format: Pillow's name of it; empty for a drawing.
        size: width and height in pixels, as stored.
        code: perceptual hash.
        thumbnail: the values of a small image, `THUMBNAIL` x `THUMBNAIL` x 3.
        skipped: why it can't be had.
    """

    hash: str = ""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    code: int = 0
    thumbnail: NDArray[np.uint8] | None = None
    skipped: Skipped | None = None


def probe_images(
    samples: Sequence[Sample], threads: int, progress: Callable[[int, int], None] | None
) -> list[ImageProbe]:
    """Probes all images of a collection, a few ahead of the progress reported.

    Args:
        samples: with an image or without.
        threads: that decode.
        progress: called with (images done, images in all), on the calling thread.
    """
    probed: list[ImageProbe] = []
    with read_ahead(probe_image, samples, threads=max(1, threads), ahead=_AHEAD) as results:
        for found in results:
            probed.append(found)
            if progress is not None:
                progress(len(probed), len(samples))
    return probed


def probe_image(sample: Sample) -> ImageProbe:
    """Decodes the image of a sample, at reduced scale where its format allows; nothing is raised."""
    if sample.image is None:
        return ImageProbe()
    try:
        return _look(sample.image)
    except (DeixisError, OSError, MemoryError) as error:
        return ImageProbe(skipped=left_out(sample, error))


def left_out(sample: Sample, error: DeixisError | OSError | MemoryError) -> Skipped:
    """Why the image of a sample can't be had, in words that name the sample.

    Args:
        sample: with an image.
        error: what reading or decoding it raised.
    """
    detail = str(error)
    if isinstance(error, DeixisError):
        detail = detail.replace(name_of(sample.picture), sample.id)
        return Skipped(sample.id, getattr(error, "reason", "can't be decoded"), excerpt(detail, 300))
    reason = "not enough memory" if isinstance(error, MemoryError) else "can't be read"
    return Skipped(sample.id, reason, excerpt(detail, 300))


def _look(picture: Picture) -> ImageProbe:
    digest, source = contents(picture)
    try:
        return dataclasses.replace(_seen(source), hash=digest)
    except DeixisError:  # once more, from where it lies, for an error that names the place
        return dataclasses.replace(_seen(picture), hash=digest)


def _seen(source: ImageSource) -> ImageProbe:
    """All but the hash."""
    info = probe(source)
    image = open_image(source, smallest=_DECODED)
    small = image.resize((_HASHED, _HASHED), Image.Resampling.BILINEAR)  # in torch, each of these would start threads
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    thumbnail = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)).flatten()
    return ImageProbe("", info.format, (info.width, info.height), perceptual_hash(pixels), thumbnail)


def misnamed(sample: Sample, found: str) -> str:
    """The format that a file's name promises, where its bytes are of another one; else nothing.

    Args:
        sample: its image a file or a member.
        found: the format of its bytes.
    """
    if not isinstance(sample.image, Path | Member):
        return ""
    suffix = PurePosixPath(sample.image.name).suffix.casefold()
    promised = next((name for name, entry in FORMATS.items() if suffix in entry.suffixes), "")
    return promised if promised and promised != _RELATED.get(found, found) else ""
