"""One look at an image: its bytes are read once, and give hash, header and pixels."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import os
import stat
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from deixis.data.captions import shown
from deixis.errors import DeixisError
from deixis.inputs.duplicates import perceptual_hash
from deixis.inputs.images import FORMATS, open_image, picture_hash, probe
from deixis.inputs.opening import name_of
from deixis.types.samples import Drawing, Member, Picture, Sample, Skipped

__all__ = ["THUMBNAIL", "Look", "look", "look_at_all", "misnamed"]

THUMBNAIL = 8
"""Side of the small image that near-duplicates are compared by."""

_DECODED, _HASHED = 128, 32
_READ_WHOLE = 128 * 2**20
_AHEAD = 512
_RELATED = {"MPO": "JPEG", "DIB": "BMP"}


@dataclasses.dataclass(frozen=True)
class Look:
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


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A drawing that is drawn already."""

    name: str
    pixels: NDArray[np.uint8]

    def draw(self) -> NDArray[np.uint8]:
        return self.pixels


def look_at_all(samples: Sequence[Sample], threads: int, progress: Callable[[int, int], None] | None) -> list[Look]:
    """Looks at all images of a collection, a few ahead of what is told.

    Args:
        samples: with an image or without.
        threads: that decode.
        progress: called with (images done, images in all), on the calling thread.
    """
    looks: list[Look] = []
    pool = concurrent.futures.ThreadPoolExecutor(max(1, threads))
    try:
        for start in range(0, len(samples), _AHEAD):
            for found in pool.map(look, samples[start : start + _AHEAD]):
                looks.append(found)
                if progress is not None:
                    progress(len(looks), len(samples))
    finally:
        pool.shutdown(cancel_futures=True)
    return looks


def look(sample: Sample) -> Look:
    """Decodes the image of a sample, at reduced scale where its format allows; nothing is raised."""
    if sample.image is None:
        return Look()
    try:
        return _look(sample.image)
    except DeixisError as error:
        detail = str(error).replace(name_of(sample.image), sample.id)
        return Look(skipped=Skipped(sample.id, getattr(error, "reason", "can't be decoded"), shown(detail, 300)))
    except (OSError, MemoryError) as error:
        reason = "not enough memory" if isinstance(error, MemoryError) else "can't be read"
        return Look(skipped=Skipped(sample.id, reason, shown(str(error), 300)))


def _look(picture: Picture) -> Look:
    data = _bytes(picture)
    if data is not None:
        try:
            return dataclasses.replace(_seen(data), hash=hashlib.sha256(data).hexdigest())
        except DeixisError:
            pass  # once more, from where it lies, for an error that names the place
    elif isinstance(picture, Drawing):
        picture = _Drawn(picture.name, picture.draw())
    return dataclasses.replace(_seen(picture), hash=picture_hash(picture))


def _bytes(picture: Picture) -> bytes | None:
    """All bytes of an image; None where there are none, or so many that they are better read in pieces."""
    if isinstance(picture, Drawing):
        return None
    try:
        if not isinstance(picture, Path):
            return picture.read()
        found = os.stat(picture)
        return picture.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size < _READ_WHOLE else None
    except Exception:  # whatever the reader of a table raises; it is told when the image is opened
        return None


def _seen(source: Picture | bytes) -> Look:
    """All but the hash."""
    info = probe(source)
    image = open_image(source, smallest=_DECODED)
    small = image.resize((_HASHED, _HASHED), Image.Resampling.BILINEAR)  # in torch, each of these would start threads
    pixels = torch.from_numpy(np.array(small)).permute(2, 0, 1)
    thumbnail = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)).flatten()
    return Look("", info.format, (info.width, info.height), perceptual_hash(pixels), thumbnail)


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
