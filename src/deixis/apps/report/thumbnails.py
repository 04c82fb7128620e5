"""Small pictures that travel inside a page: each distinct image once, as a data address."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import NamedTuple

from PIL import Image

from deixis.inputs.images import load_image
from deixis.types import Picture

__all__ = ["Thumbnail", "Thumbnails"]

_TINY = 48


class Thumbnail(NamedTuple):
    """A picture of the page: `address` is empty where the file could not be read."""

    id: str
    width: int
    height: int
    address: str


class Thumbnails:
    """Makes thumbnails on demand and remembers them, so that a page can define each once and use it often.

    Args:
        side: longest side in pixels.
    """

    def __init__(self, side: int = 160) -> None:
        self._side = side
        self._made: dict[Picture, Thumbnail] = {}

    def __getitem__(self, path: Picture) -> Thumbnail:
        if path not in self._made:
            self._made[path] = self._make(path)
        return self._made[path]

    def readable(self) -> Iterable[Thumbnail]:
        """The thumbnails made so far whose files could be read."""
        return [item for item in self._made.values() if item.address]

    def _make(self, path: Picture) -> Thumbnail:
        name = f"picture-{len(self._made) + 1}"
        try:
            picture = Image.fromarray(load_image(path).permute(1, 2, 0).contiguous().numpy())
            picture.thumbnail((self._side, self._side), Image.Resampling.LANCZOS)
            return Thumbnail(name, picture.width, picture.height, _address(picture))
        except Exception:  # a picture that is gone or broken by now must not cost the whole report
            return Thumbnail(name, self._side, self._side, "")


def _address(picture: Image.Image) -> str:
    kind = "png" if max(picture.size) <= _TINY else "jpeg"
    with io.BytesIO() as buffer:
        picture.save(buffer, kind, quality=80, optimize=True)
        return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
