"""Sheets of small pictures: rows on white, as a JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps

from deixis.files import atomic_path
from deixis.inputs.images import open_image
from deixis.types import Picture

__all__ = ["GAP", "SIDE", "thumbnail", "write_sheet"]

SIDE, GAP = 96, 4
"""Of a thumbnail and around it, in pixels."""

_WHITE = (255, 255, 255)


def thumbnail(picture: Picture, side: int = SIDE) -> Image.Image:
    """The picture, its longer side being `side` pixels."""
    return ImageOps.contain(open_image(picture, smallest=side), (side, side))


def write_sheet(path: Path, rows: Sequence[Sequence[Image.Image]], cell: tuple[int, int] = (SIDE, SIDE)) -> None:
    """Writes rows of pictures side by side.

    Args:
        path: of the file, a JPEG.
        rows: of pictures, none larger than a cell.
        cell: width and height of what a picture is given.
    """
    across, (width, height) = max(map(len, rows), default=0), (side + GAP for side in cell)
    with Image.new("RGB", (width * across + GAP, height * len(rows) + GAP), _WHITE) as sheet:
        for down, pictures in enumerate(rows):
            for place, picture in enumerate(pictures):
                sheet.paste(picture, (GAP + width * place, GAP + height * down))
        with atomic_path(path) as temporary:
            sheet.save(temporary, "JPEG", quality=90)
