"""Small pictures of what is in an index, made when they are asked for, kept in memory as far as that is allowed."""

from __future__ import annotations

import collections
import hashlib
import io
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from PIL import Image

from deixis.apps.common.find_picture import find_picture
from deixis.apps.serve.errors import RequestError
from deixis.errors import DeixisError
from deixis.inputs.decode.upright import orientation
from deixis.inputs.images import open_image
from deixis.inputs.opening import opened
from deixis.types import Member

__all__ = ["ANY_SIZE", "PLACEHOLDER", "MissingPicture", "Pictures", "Small", "located"]

PLACEHOLDER = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 160 120"><rect width="160" height="120" fill="#999" '
    b'fill-opacity=".18"/><path d="M50 82l20-26 14 17 9-11 17 20z" fill="none" stroke="#888" stroke-width="3"/>'
    b'<path d="M46 34l68 54" stroke="#888" stroke-width="3"/></svg>'
)
"""What is shown where a file has gone."""

ANY_SIZE = 1 << 40
"""Pixels of what is in an index: how large its pictures may be was decided when it was made."""

_SIDES = (160, 320, 480, 640, 800, 1200, 1600, 2048, 3200, 4800, 8192)
_QUALITY = 85
_SIZES = 200_000  # sizes that are remembered
_TURNED = 5  # from this EXIF orientation on, width and height change places

K = TypeVar("K")
V = TypeVar("V")


class MissingPicture(RequestError):
    """What was indexed is not where it was.

    Args:
        place: where that was.
    """

    def __init__(self, place: str) -> None:
        super().__init__(
            404, f"{place} is not there any more.", "Bring the index up to date: deixis index DATA --out RUN --update"
        )

    def __reduce__(self) -> tuple[type[MissingPicture], tuple[str]]:  # type: ignore[override]
        return type(self), (self.found.removesuffix(" is not there any more."),)


class Small(NamedTuple):
    """A JPEG, and a mark that changes when the file that it was made of does."""

    data: bytes
    mark: str


class _Kept(Generic[K, V]):
    """The last used of what was made, up to a total weight; threads may share it."""

    def __init__(self, most: int) -> None:
        self._most, self._weight = most, 0
        self._held: collections.OrderedDict[K, tuple[V, int]] = collections.OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: K, value: V, weight: int) -> None:
        with self._lock:
            if key in self._held or weight > self._most:
                return
            self._held[key] = (value, weight)
            self._weight += weight
            while self._weight > self._most:
                self._weight -= self._held.popitem(last=False)[1][1]


class Pictures:
    """Makes pictures of items, and tells how large they will be. Threads may share it.

    Args:
        memory: bytes of pictures that are kept.
    """

    def __init__(self, memory: int = 64_000_000) -> None:
        self._made: _Kept[str, bytes] = _Kept(memory)
        self._sizes: _Kept[str, tuple[int, int]] = _Kept(_SIZES)

    def mark(self, item: Mapping[str, Any], side: int) -> str:
        """What `small` would be marked by; no picture is decoded.

        Raises:
            MissingPicture: the file.
        """
        return _mark(located(str(item["path"])), _step(side))

    def small(self, item: Mapping[str, Any], side: int) -> Small:
        """A picture, its longer side at most so many pixels, rounded up to one of a few sizes.

        Args:
            item: of the index.
            side: pixels.

        Raises:
            MissingPicture: the file.
            ImageError: it can't be read.
        """
        source, side = located(str(item["path"])), _step(side)
        mark = _mark(source, side)
        data = self._made.get(mark)
        if data is None:
            data = _jpeg(source, side)
            self._made.put(mark, data, len(data))
        return Small(data, mark)

    def size(self, item: Mapping[str, Any], side: int) -> tuple[int, int]:
        """Width and height of what `small` gives, or of the file itself where the side is 0; a square where the file
        can't be read."""
        try:
            source = located(str(item["path"]))
            mark = _mark(source, 0)
            known = self._sizes.get(mark)
            if known is None:
                with opened(source, max_pixels=None) as picture:
                    width, height = picture.size
                    known = (height, width) if orientation(picture) >= _TURNED else (width, height)
                self._sizes.put(mark, known, 1)
            return _fitted(known, _step(side)) if side else known
        except (DeixisError, OSError):
            return (_step(side),) * 2 if side else (1, 1)


def located(place: str) -> Path | Member:
    """The file that an item was read from: one by itself, or one inside a shard.

    Args:
        place: as `types.place` told it.

    Raises:
        MissingPicture: it is not there any more, or lies where it can't be read again, such as in a table.
    """
    found = find_picture(place)
    if found is None:
        raise MissingPicture(place)
    return found


def _mark(source: Path | Member, side: int) -> str:
    told = os.stat(source.archive if isinstance(source, Member) else source)
    text = f"{source}\0{told.st_mtime_ns}\0{told.st_size}\0{told.st_ino}\0{side}"
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _step(side: int) -> int:
    return next((each for each in _SIDES if each >= side), _SIDES[-1])


def _fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _jpeg(source: Path | Member, side: int) -> bytes:
    with opened(source, max_pixels=None) as header:
        width, height = header.size
        turned = orientation(header) >= _TURNED
    target = _fitted((height, width) if turned else (width, height), side)
    picture = open_image(source, max_pixels=ANY_SIZE, smallest=min(target))
    if picture.size != target:
        picture = picture.resize(target, Image.Resampling.LANCZOS)
    with io.BytesIO() as memory:
        picture.save(memory, "JPEG", quality=_QUALITY)
        return memory.getvalue()
