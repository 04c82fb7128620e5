"""What messages call an image by, and what is opened of it. tests/inputs/test_images.py has all that can go wrong."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.inputs.opening import ImageError, ImageSource, name_of, opened
from deixis.types import Member


class Square:
    """A drawing."""

    name = "a black square"

    def draw(self) -> np.ndarray:
        return np.zeros((2, 3, 3), dtype=np.uint8)


def png(width: int = 3, height: int = 2) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, height), "red").save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/b.png", "a/b.png"),
        (Path("a/b.png"), "a/b.png"),
        (Member(Path("s.tar"), "b.png", 0, 9), "s.tar/b.png"),
        (b"12345", "The image given as 5 bytes"),
        (Image.new("RGB", (1, 1)), "The Pillow image given"),
        (Square(), "a black square"),
    ],
)
def test_every_source_has_a_name_for_messages(source: ImageSource, name: str) -> None:
    assert name_of(source) == name


def test_whatever_it_comes_from_it_is_opened_and_the_file_is_closed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    (tmp_path / "s.tar").write_bytes(bytes(512) + png() + bytes(9))
    member = Member(tmp_path / "s.tar", "a.png", 512, len(png()))
    for source in (tmp_path / "a.png", str(tmp_path / "a.png"), member, png(), Square()):
        with opened(source) as picture:
            assert picture.size == (3, 2)
            stream = getattr(picture, "fp", None)
        assert stream is None or stream.closed


def test_a_header_can_be_had_of_what_is_too_large_to_decode() -> None:
    with opened(png(20, 10), max_pixels=None) as picture:
        assert picture.size == (20, 10)
    with pytest.raises(ImageError, match="200 pixels") as caught, opened(png(20, 10), max_pixels=199):
        pass
    assert caught.value.reason == "too many pixels"
