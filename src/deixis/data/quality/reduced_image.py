"""An image that is decoded once, at a size that is enough, and then altered many times."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from PIL import Image

from deixis.inputs.images import open_image
from deixis.types import Picture, place

__all__ = ["ReducedImage"]


class ReducedImage:
    """An image with its longer side at most `longest`, held in memory from its first use on.

    Args:
        picture: the original.
        longest: pixels.
    """

    def __init__(self, picture: Picture, longest: int) -> None:
        self._picture, self._longest = picture, longest

    @property
    def name(self) -> str:
        """That of the original."""
        return place(self._picture)

    @functools.cached_property
    def _pixels(self) -> Any:
        image = open_image(self._picture, smallest=self._longest)
        image.thumbnail((self._longest, self._longest), Image.Resampling.LANCZOS)
        return np.array(image)

    def draw(self) -> Any:
        """The image as a NumPy array uint8 [H, W, 3]."""
        return self._pixels
