"""An image read once: the hash of what it holds, and what it can be decoded from without being read again."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from deixis.inputs.images import picture_hash, probe
from deixis.inputs.opening import ImageSource
from deixis.types.samples import Drawing, Member, Picture, Stored

__all__ = ["Contents", "contents"]

_READ_WHOLE = 128 * 2**20


class Contents(NamedTuple):
    """What an image holds.

    Attributes:
        hash: as `images.picture_hash` gives it.
        source: its bytes, the drawing as it was drawn, or, of a very large file, where it lies.
    """

    hash: str
    source: ImageSource


@dataclasses.dataclass(frozen=True)
class _Drawn:
    """A drawing that is drawn already."""

    name: str
    pixels: NDArray[np.uint8]

    def draw(self) -> NDArray[np.uint8]:
        return self.pixels


def contents(picture: Picture) -> Contents:
    """Reads an image once; no pixel is decoded.

    What is wrong with the bytes is found when they are decoded, and the message then knows no name: decode `picture`
    once more for one that does.

    Raises:
        ImageError: the image is missing, no file, or can't be opened.
        OSError: it can't be read to its end.
    """
    if not isinstance(picture, Path | Member) and isinstance(picture, Drawing):  # a protocol takes long to look at
        drawn = _Drawn(picture.name, picture.draw())
        return Contents(picture_hash(drawn), drawn)
    data = _bytes(picture)
    if data is not None:
        return Contents(hashlib.sha256(data).hexdigest(), data)
    probe(picture)  # says what is wrong; a pipe would be waited for without end
    return Contents(picture_hash(picture), picture)


def _bytes(picture: Path | Member | Stored) -> bytes | None:
    """All bytes of an image; None where they can't be had, or are so many that they are better read in pieces."""
    try:
        if not isinstance(picture, Path):
            return picture.read()
        found = os.stat(picture)
        return picture.read_bytes() if stat.S_ISREG(found.st_mode) and found.st_size < _READ_WHOLE else None
    except Exception:  # whatever the reader of a table raises; it is told when the image is opened
        return None
