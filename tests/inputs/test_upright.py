"""Turning and flattening, beside what tests/inputs/test_images.py sees of them through files."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deixis.inputs.decode.upright import orientation, to_rgb, turned, upright

CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40


def grey(picture: Image.Image) -> list[list[int]]:
    return np.asarray(picture.convert("L")).tolist()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (1, CORNERS),
        (2, CORNERS[:, ::-1]),
        (3, CORNERS[::-1, ::-1]),
        (4, CORNERS[::-1]),
        (5, CORNERS.T),
        (6, CORNERS[::-1].T),
        (7, CORNERS[::-1, ::-1].T),
        (8, CORNERS.T[::-1]),
        (0, CORNERS),
        (9, CORNERS),
    ],
)
def test_each_orientation_is_its_turn_or_mirror_image(told: int, expected: np.ndarray) -> None:
    picture = Image.fromarray(CORNERS)
    assert grey(turned(picture, told)) == expected.tolist()
    exif = picture.getexif()
    exif[0x0112] = told
    assert orientation(picture) == (told if 2 <= told <= 8 else 1)
    assert grey(upright(picture)) == expected.tolist()


def test_a_picture_given_is_not_changed() -> None:
    picture = Image.new("RGBA", (2, 2), (10, 20, 30, 0))
    assert to_rgb(picture).getpixel((0, 0)) == (255, 255, 255)
    assert picture.getpixel((0, 0)) == (10, 20, 30, 0)
    assert picture.mode == "RGBA"
