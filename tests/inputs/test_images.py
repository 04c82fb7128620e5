"""Every odd image is decoded as a person would see it; every bad one is named with its reason and a cure."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.util
import io
import os
import pickle
import resource
import struct
import sys
import types
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from deixis.inputs import opening
from deixis.inputs.images import (
    IMAGE_SUFFIXES,
    NEAR_DUPLICATE_BITS,
    ImageError,
    ImageInfo,
    Reason,
    load_image,
    open_image,
    perceptual_hash,
    picture_hash,
    probe,
)
from deixis.types import Member
from tests.support import examples

RED, GREEN, BLUE, WHITE, BLACK = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)


def encoded(picture: Image.Image, name: str, **options) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, name, **options)
    return stream.getvalue()


def photograph(height: int = 60, width: int = 80, seed: int = 0, cells: int = 8) -> Image.Image:
    """Smooth colours: like a photograph to a JPEG encoder and to a hash."""
    coarse = np.random.default_rng(seed).integers(0, 256, (cells, cells, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def pixels(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)


def colours(image: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(pixel) for pixel in image.flatten(1).T.tolist()]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(size: tuple[int, int], depth: int, colour: int, compressed: bytes, *extra: bytes) -> bytes:
    """A PNG written by hand, for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(extra) + chunk(b"IDAT", compressed) + chunk(b"IEND", b"")


def row16(*values: int) -> bytes:
    return zlib.compress(b"\0" + struct.pack(f">{len(values)}H", *values))


def refusal(source, **options) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    assert caught.value.reason in get_args(Reason)
    assert caught.value.cure
    return caught.value


# --- as a person would see it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["PNG", "BMP", "TIFF", "PPM", "QOI", "GIF", "WEBP", "AVIF", "JPEG2000", "ICO", "JPEG"])
def test_a_picture_comes_out_as_it_went_in(name: str, tmp_path: Path) -> None:
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        pytest.skip(f"this Pillow has no {name}")
    picture = photograph(48, 48)
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}, "AVIF": {"quality": 95}}.get(name, {})
    path = tmp_path / "picture"
    path.write_bytes(encoded(picture.quantize(256) if name == "GIF" else picture, name, **options))
    image = load_image(path)
    assert image.dtype == torch.uint8
    assert image.shape == (3, 48, 48)
    tolerance = {"JPEG": 6, "AVIF": 6, "GIF": 10}.get(name, 0)
    assert (image.float() - pixels(picture).float()).abs().mean() <= tolerance
    assert probe(path) == ImageInfo(name, 48, 48, "P" if name == "GIF" else "RGB", 1)


TURNED = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_upright_and_once(orientation: int, name: str) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24], stored[:16, 24:], stored[16:, :24] = RED, GREEN, BLUE
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(name, {})
    data = encoded(Image.fromarray(stored), name, exif=exif, **options)
    image = load_image(data)
    seen = torch.from_numpy(TURNED[orientation](stored).copy()).permute(2, 0, 1)
    assert image.shape == seen.shape
    assert (image.int() - seen.int()).abs().max() <= (8 if name == "JPEG" else 0)
    assert torch.equal(load_image(open_image(data)), image)


def test_an_orientation_that_makes_no_sense_is_ignored() -> None:
    exif = Image.Exif()
    exif[0x0112] = 99
    assert load_image(encoded(photograph(), "JPEG", exif=exif)).shape == (3, 60, 80)


@pytest.mark.parametrize("marker", ["with Adobe's marker", "without"])
def test_a_cmyk_jpeg_is_read_as_inverted(marker: str) -> None:
    data = encoded(Image.new("CMYK", (16, 16), (255, 0, 0, 0)), "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    assert data[start + 4 : start + 9] == b"Adobe"
    if marker == "without":
        data = data[:start] + data[start + 2 + int.from_bytes(data[start + 2 : start + 4], "big") :]
    red, green, blue = load_image(data)[:, 8, 8].tolist()
    assert red < 10
    assert min(green, blue) > 245


def test_a_cmyk_tiff_shows_its_inks() -> None:
    assert colours(load_image(encoded(Image.new("CMYK", (1, 1), (0, 255, 255, 0)), "TIFF"))) == [RED]


@pytest.mark.parametrize(("mode", "value", "shown"), [("1", 1, 255), ("L", 77, 77)])
def test_grey_and_one_bit_get_three_equal_channels(mode: str, value: int, shown: int) -> None:
    assert colours(load_image(encoded(Image.new(mode, (1, 1), value), "PNG"))) == [(shown,) * 3]


def test_sixteen_bits_are_scaled_and_not_clipped() -> None:
    values = np.array([[0, 128, 257, 30000, 65535]], np.uint16)
    expected = [0, 0, 1, 117, 255]
    for name in ("PNG", "TIFF"):
        assert load_image(encoded(Image.fromarray(values), name))[0, 0].tolist() == expected
    big_endian = Image.frombytes("I;16B", (5, 1), values.astype(">u2").tobytes())
    assert load_image(big_endian)[1, 0].tolist() == expected


@pytest.mark.parametrize(
    ("colour", "values", "expected"),
    [
        (2, [65535, 30000, 0], (255, 117, 0)),
        (6, [65535, 30000, 0, 65535], (255, 117, 0)),
        (6, [65535, 30000, 0, 0], WHITE),
        (4, [30000, 65535], (117,) * 3),
        (4, [30000, 0], WHITE),
    ],
)
def test_sixteen_bit_colour_and_alpha_are_scaled(colour: int, values: list[int], expected: tuple[int, ...]) -> None:
    shown = colours(load_image(png((1, 1), 16, colour, row16(*values))))[0]
    assert np.abs(np.subtract(shown, expected)).max() <= 1


def test_a_transparent_grey_of_sixteen_bits_is_white() -> None:
    data = png((2, 1), 16, 0, row16(200, 30000), chunk(b"tRNS", struct.pack(">H", 200)))
    assert load_image(data)[0, 0].tolist() == [255, 117]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[-5, 30000, 65535]], np.int32), [0, 117, 255]),
        (np.array([[0, 1 << 20, 1 << 21]], np.int32), [0, 128, 255]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[np.nan, 100, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 0, 0]], np.float32), [0, 0, 0]),
    ],
)
def test_the_white_of_whole_and_real_numbers_is_guessed_from_their_largest(values, expected) -> None:
    assert load_image(Image.fromarray(values))[2, 0].tolist() == expected
    assert load_image(encoded(Image.fromarray(values), "TIFF"))[2, 0].tolist() == expected


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_what_is_transparent_is_white(mode: str) -> None:
    assert colours(load_image(Image.new("RGBA", (1, 1), (0, 0, 0, 0)).convert("LA" if "L" in mode else "RGBA"))) == [
        WHITE
    ]
    assert colours(load_image(Image.new(mode, (1, 1)))) == [WHITE]


def test_half_transparent_black_is_grey() -> None:
    assert colours(load_image(encoded(Image.new("RGBA", (1, 1), (0, 0, 0, 128)), "PNG"))) == [(127, 127, 127)]


def test_a_palette_is_looked_up_and_its_transparency_is_white() -> None:
    picture = Image.new("P", (3, 1))
    picture.putpalette([*RED, *GREEN, *BLUE])
    picture.putdata([0, 1, 2])
    assert colours(load_image(encoded(picture, "PNG"))) == [RED, GREEN, BLUE]
    assert colours(load_image(encoded(picture, "PNG", transparency=1))) == [RED, WHITE, BLUE]
    assert colours(load_image(encoded(picture, "GIF", transparency=2))) == [RED, GREEN, WHITE]
    half = load_image(encoded(picture, "PNG", transparency=bytes([255, 0, 128])))
    assert colours(half)[:2] == [RED, WHITE]
    assert half[:, 0, 2].tolist() == [127, 127, 255]


def test_a_transparent_colour_of_a_true_colour_png_is_white() -> None:
    picture = Image.new("RGB", (2, 1), RED)
    picture.putpixel((1, 0), GREEN)
    assert colours(load_image(encoded(picture, "PNG", transparency=GREEN))) == [RED, WHITE]


@pytest.mark.parametrize("name", ["GIF", "WEBP", "PNG", "TIFF"])
def test_the_first_frame_of_an_animation_is_shown(name: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if name == "WEBP" else {}
    data = encoded(frames[0], name, save_all=True, append_images=frames[1:], **options)
    assert set(colours(load_image(data))) == {RED}
    assert probe(data).frames == 3


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "RGBX"])
def test_other_colour_models_are_converted(mode: str) -> None:
    picture = photograph().convert("RGB")
    if mode == "LAB":
        converted = Image.new("LAB", picture.size)
    else:
        converted = picture.convert(mode)
        assert (load_image(converted).int() - pixels(picture).int()).abs().max() <= 8
    assert load_image(converted).shape == (3, 60, 80)


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "really-a-png.jpg"
    path.write_bytes(encoded(photograph(), "PNG"))
    assert torch.equal(load_image(path), pixels(photograph()))
    assert probe(path).format == "PNG"


def test_a_heic_is_read_or_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + bytes(40)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    error = refusal(head)
    assert error.reason == "unsupported format"
    assert "pip install 'deixis[data]'" in error.cure
    plugin = types.ModuleType("pillow_heif")
    plugin.HeifImageFile = lambda stream, _: Image.new("RGB", (1, 1), BLUE)
    monkeypatch.setitem(sys.modules, "pillow_heif", plugin)
    assert colours(load_image(head)) == [BLUE]
    mif1 = b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic" + bytes(40)
    assert colours(load_image(mif1)) == [BLUE]


@pytest.mark.skipif(importlib.util.find_spec("pillow_heif") is None, reason="pillow-heif is not installed")
def test_a_real_heic_decodes_upright_and_broken_ones_are_named() -> None:
    import pillow_heif

    stream = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    pillow_heif.from_pillow(photograph(64, 96)).save(stream, quality=95, exif=exif.tobytes())
    image = load_image(stream.getvalue())
    upright = pixels(photograph(64, 96).transpose(Image.Transpose.ROTATE_270))
    assert image.shape == upright.shape
    assert (image.float() - upright.float()).abs().mean() < 6
    assert probe(stream.getvalue()).format == "HEIF"
    assert refusal(stream.getvalue(), max_pixels=100).reason == "too many pixels"
    assert refusal(stream.getvalue()[:-200]).reason in ("truncated", "corrupt")


@pytest.mark.parametrize("form", ["path", "text", "bytes", "picture"])
def test_path_bytes_and_picture_give_the_same(form: str, tmp_path: Path) -> None:
    data = encoded(photograph(), "PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    source = {"path": path, "text": str(path), "bytes": data, "picture": Image.open(io.BytesIO(data))}[form]
    assert torch.equal(load_image(source), pixels(photograph()))


@dataclasses.dataclass(frozen=True)
class Stripes:
    name: str = "stripes no. 3"

    def draw(self) -> np.ndarray:
        return np.tile(np.array([[RED, BLUE]], np.uint8), (4, 3, 1))


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_a_member_of_a_shard_is_read_from_its_stretch_alone(name: str, tmp_path: Path) -> None:
    shard, exif = tmp_path / "0000.tar", Image.Exif()
    exif[0x0112] = 6
    first, second = (encoded(photograph(30 + seed, 50, seed), name, exif=exif) for seed in (0, 1))
    shard.write_bytes(bytes(512) + first + second + bytes(77))
    member = Member(shard, "b.png", 512 + len(first), len(second))
    assert torch.equal(load_image(member), load_image(second))
    assert load_image(member).shape == (3, 50, 31)
    assert probe(member) == probe(second)
    assert picture_hash(member) == hashlib.sha256(second).hexdigest()


@pytest.mark.parametrize(("size", "reason"), [(0, "empty file"), (200, "truncated")])
def test_a_member_that_can_not_be_read_is_named_with_its_shard(size: int, reason: str, tmp_path: Path) -> None:
    (tmp_path / "0000.tar").write_bytes(encoded(photograph(), "PNG")[:size])
    error = refusal(Member(tmp_path / "0000.tar", "birds/a.png", 0, 9000))
    assert error.reason == reason
    assert f"{tmp_path}/0000.tar/birds/a.png" in error.found
    gone = Member(tmp_path / "0001.tar", "birds/a.png", 0, 9000)
    assert refusal(gone).reason == "missing"


def test_a_drawing_is_drawn_when_it_is_asked_for_and_held_to_the_limit() -> None:
    assert colours(load_image(Stripes())) == [RED, BLUE] * 12
    assert probe(Stripes()) == ImageInfo("", 6, 4, "RGB", 1)
    assert picture_hash(Stripes()) == picture_hash(Stripes("the same under another name"))
    error = refusal(Stripes(), max_pixels=23)
    assert error.reason == "too many pixels"
    assert "stripes no. 3" in error.found


@pytest.mark.parametrize("source", ["jpeg", "turned", "cmyk", "palette", "drawing", "picture"])
def test_a_pillow_image_on_request_has_the_same_pixels(source: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    given = {
        "jpeg": encoded(photograph(), "JPEG"),
        "turned": encoded(photograph(), "JPEG", exif=exif),
        "cmyk": encoded(photograph().convert("CMYK"), "JPEG"),
        "palette": encoded(photograph().quantize(9), "PNG"),
        "drawing": Stripes(),
        "picture": photograph().convert("L"),
    }[source]
    picture = open_image(given)
    assert picture.mode == "RGB"
    assert picture is not given
    assert torch.equal(pixels(picture), load_image(given))
    with pytest.raises(ImageError, match="limit is 5 pixels"):
        open_image(given, max_pixels=5)


def test_a_picture_given_is_left_as_it_is() -> None:
    picture = Image.open(io.BytesIO(encoded(photograph(800, 800), "JPEG")))
    load_image(picture, smallest=100)
    assert (picture.mode, picture.size) == ("RGB", (800, 800))


@pytest.mark.parametrize(("smallest", "height"), [(400, 400), (201, 400), (200, 200), (99, 100), (10, 50), (1, 50)])
def test_a_jpeg_is_decoded_smaller_but_never_below_what_is_asked(smallest: int, height: int) -> None:
    data = encoded(photograph(400, 600), "JPEG", quality=95)
    image = load_image(data, smallest=smallest)
    assert image.shape == (3, height, height * 3 // 2)
    shrunk = pixels(photograph(400, 600).resize((height * 3 // 2, height), Image.Resampling.BOX))
    assert (image.float() - shrunk.float()).abs().mean() < 4
    assert load_image(encoded(photograph(40, 60), "PNG"), smallest=5).shape == (3, 40, 60)


# --- what can't be had ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason", "said"),
    [
        (b"", "empty file", "0 bytes"),
        (b"My holiday, day one.\n", "not an image", "it is text"),
        ("Ёлка и снег".encode(), "not an image", "it is text"),
        (b"P2P networks and BMWs\n", "not an image", "it is text"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "not an image", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "not an image", "git-lfs pointer"),
        (b"PK\x03\x04" + bytes(40), "not an image", "a zip archive"),
        (b"\0\0\0\x18ftypisom" + bytes(40), "not an image", "a video"),
        (bytes(1000), "not an image", "not known here"),
        (b"<?xml version='1.0'?><svg/>", "unsupported format", "an SVG drawing"),
        (b"%PDF-1.7\n%\xe2\xe3", "unsupported format", "a PDF document"),
        (b"8BPS\0\1" + bytes(40), "unsupported format", "a Photoshop document"),
        (b"\xff\xd8\xff\xe0", "truncated", "is cut short"),
        (b"\x89PNG\r\n\x1a\n", "truncated", "is cut short"),
        (b"RIFF\xff\0\0\0WEBPVP8 ", "truncated", "is cut short"),
        (b"RIFF\x08\0\0\0WEBPVP8 ", "corrupt", "is damaged"),
    ],
)
def test_what_is_no_image_is_called_by_its_name(content: bytes, reason: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    error = refusal(path)
    assert error.reason == reason
    assert said in error.found
    assert str(path) in error.found
    with pytest.raises(ImageError) as probed:
        probe(path)
    assert probed.value.reason == reason


@pytest.mark.parametrize("name", ["JPEG", "PNG", "GIF", "BMP", "WEBP", "AVIF", "PPM"])
def test_a_file_cut_in_half_is_truncated(name: str) -> None:
    if name in ("WEBP", "AVIF") and not features.check(name.lower()):
        pytest.skip(f"this Pillow has no {name}")
    data = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)), name)
    reason = refusal(data[: len(data) // 2]).reason
    assert reason == "truncated" or (name, reason) == ("AVIF", "corrupt")  # its decoder does not tell the two apart


def test_a_damaged_picture_is_corrupt() -> None:
    data = bytearray(encoded(photograph(), "PNG"))
    start = data.index(b"IDAT") + 4
    data[start : start + 40] = b"\xff" * 40
    assert refusal(bytes(data)).reason == "corrupt"


def test_a_picture_without_pixels_is_refused() -> None:
    assert refusal(Image.new("RGB", (0, 5))).reason == "corrupt"


@pytest.mark.parametrize(
    ("name", "said"),
    [("nowhere.jpg", "relative to"), ("https://example.org/a.jpg", "not downloaded"), ("a\0b.jpg", "Check the path")],
)
def test_a_path_that_is_not_there_is_missing(name: str, said: str) -> None:
    error = refusal(name)
    assert error.reason == "missing"
    assert said in error.cure


def test_a_file_taken_for_a_folder_is_missing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "gone.jpg")
    assert refusal(tmp_path / "a.jpg" / "b.jpg").reason == "missing"
    assert refusal(tmp_path / "link.jpg").reason == "missing"


def test_a_folder_is_called_a_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path).reason == "a folder"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg").reason == "unreadable"


@pytest.mark.parametrize("failure", [PermissionError(13, "Permission denied"), OSError(5, "Input/output error")])
def test_a_file_that_may_not_be_read_is_unreadable(
    failure: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(photograph(), "PNG"))

    def refuse(*_: object) -> None:
        raise failure

    # The tests may run as root, whom no mode bits stop.
    monkeypatch.setattr(opening, "open", refuse, raising=False)
    error = refusal(path)
    assert error.reason == "unreadable"
    assert failure.strerror.lower() in error.found.lower()


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gigantic() -> bytes:
    """A PNG of 30,000 x 20,000 pixels, one bit each, all black: 73 kB."""
    packer = zlib.compressobj(1)
    rows = bytes(3751 * 2000)
    return png((30000, 20000), 1, 0, b"".join([*(packer.compress(rows) for _ in range(10)), packer.flush()]))


def test_a_png_of_600_megapixels_is_refused_before_it_takes_memory(gigantic: bytes, tmp_path: Path) -> None:
    path = tmp_path / "gigantic.png"
    path.write_bytes(gigantic)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    error = refusal(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    assert error.reason == "too many pixels"
    assert "30,000 x 20,000 = 600,000,000 pixels" in error.found
    assert "limit is 100,000,000" in error.found


def bomb(name: str) -> bytes:
    """A file of less than 20 kB whose header promises 60,000 x 60,000 pixels (an icon's picture: 12,000 x 12,000)."""
    small, size = encoded(photograph(16, 16), name if name in ("JPEG", "BMP") else "PNG"), (60000, 60000)
    if name == "JPEG":
        start = small.index(b"\xff\xc0") + 5
        return small[:start] + struct.pack(">HH", *size) + small[start + 4 :]
    if name == "BMP":
        return small[:18] + struct.pack("<ii", *size) + small[26:]
    if name == "ICO":
        picture = png((12000, 12000), 1, 0, zlib.compress(bytes(1501 * 12000)))
        return struct.pack("<3H4B2H2I", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(picture), 22) + picture
    return {
        "PNG": png(size, 8, 2, zlib.compress(bytes(1000))),
        "GIF": b"GIF89a"
        + struct.pack("<HH", *size)
        + b"\0\0\0,"
        + struct.pack("<4H", 0, 0, *size)
        + b"\0\2\2\x4c\1\0;",
        "PPM": b"P6 60000 60000 255 " + bytes(90),
        "QOI": b"qoif" + struct.pack(">II", *size) + b"\3\0" + bytes(90),
    }[name]


@pytest.mark.parametrize("name", ["PNG", "JPEG", "GIF", "BMP", "PPM", "QOI", "ICO"])
def test_a_small_file_that_unpacks_to_gigabytes_is_refused_by_its_header(name: str) -> None:
    data = bomb(name)
    assert len(data) < 20_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert refusal(data).reason == "too many pixels"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_a_remark_that_unpacks_to_gigabytes_is_refused(kind: bytes) -> None:
    packed = zlib.compress(bytes(20_000_000))
    data = png((1, 1), 8, 2, zlib.compress(bytes(4)), chunk(kind, b"a\0\0" + packed))
    assert refusal(data).reason == "corrupt"


def test_a_header_is_read_whatever_its_size(gigantic: bytes) -> None:
    assert probe(gigantic) == ImageInfo("PNG", 30000, 20000, "1", 1)


@pytest.mark.parametrize("name", ["PNG", "JPEG", "TIFF", "BMP", "GIF"])
def test_the_limit_is_the_callers_and_exact(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(photograph(30, 40), name)
    assert load_image(data, max_pixels=1200).shape == (3, 30, 40)
    assert refusal(data, max_pixels=1199).reason == "too many pixels"
    assert refusal(photograph(30, 40), max_pixels=1199).reason == "too many pixels"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # Pillow warns
    assert load_image(data).shape == (3, 30, 40)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow raises
    if name == "TIFF":  # Pillow holds its tiles to the limit too
        assert refusal(data).reason == "too many pixels"
    else:
        assert load_image(data).shape == (3, 30, 40)


def test_frames_that_cannot_be_counted_are_one() -> None:
    class Broken(Image.Image):
        @property
        def n_frames(self) -> int:
            raise KeyError("a broken directory")

    assert probe(Broken()).frames == 1


# --- quiet, whole, in threads -----------------------------------------------------------------------------------------


def with_broken_exif() -> bytes:
    return encoded(photograph(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0")


def test_no_warning_of_pillow_leaks_and_no_filter_stays() -> None:
    data = with_broken_exif()
    with pytest.warns(UserWarning, match="Corrupt EXIF"):
        Image.open(io.BytesIO(data))
    before = list(warnings.filters)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert load_image(data).shape == (3, 60, 80)
        assert probe(data).format == "JPEG"
    assert not caught
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(load_image, [data] * 200))) == 200
    assert list(warnings.filters) == before


def test_warnings_of_others_are_still_seen_while_an_image_is_read() -> None:
    with opening._quiet, pytest.warns(UserWarning, match="mine"):
        warnings.warn("mine", UserWarning, stacklevel=1)


def test_threads_read_what_one_thread_reads() -> None:
    sources = [encoded(photograph(seed=seed), name) for seed in range(6) for name in ("JPEG", "PNG", "WEBP", "GIF")]
    alone = [load_image(source) for source in sources]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(load_image, sources))
    assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))


SEEDS = {
    name: encoded(photograph(16, 16), name)
    for name in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP", "PPM", "QOI", "ICO", "JPEG2000")
}


@examples(150)
@given(
    name=st.sampled_from(sorted(SEEDS)),
    cut=st.floats(0, 1),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), max_size=6),
)
def test_damaged_bytes_give_an_image_or_an_image_error(name: str, cut: float, changes: list) -> None:
    data = bytearray(SEEDS[name])
    for where, value in changes:
        data[int(where * len(data))] = value
    data = data[: int(len(data) * (1 if cut > 0.5 else cut * 2))]
    with contextlib.suppress(ImageError):
        image = load_image(bytes(data), max_pixels=100_000)
        assert image.dtype == torch.uint8
        assert image.shape[0] == 3


@given(st.binary(max_size=200))
def test_any_bytes_give_an_image_or_an_image_error(data: bytes) -> None:
    with contextlib.suppress(ImageError):
        assert load_image(data, max_pixels=100_000).shape[0] == 3


def test_the_error_survives_being_sent_to_another_process() -> None:
    error = refusal(b"")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.reason, copy.cure) == (str(error), "empty file", error.cure)


def test_suffixes_are_lower_case_with_a_dot() -> None:
    assert {".jpg", ".jpeg", ".png", ".webp", ".gif", ".heic", ".avif", ".tif", ".bmp"} <= IMAGE_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


# --- near duplicates --------------------------------------------------------------------------------------------------


def distance(one: Image.Image, other: Image.Image) -> int:
    return (perceptual_hash(pixels(one)) ^ perceptual_hash(pixels(other))).bit_count()


@pytest.mark.parametrize("seed", range(4))
def test_copies_of_an_image_are_near_duplicates(seed: int) -> None:
    picture = photograph(240, 320, seed)
    copies = [
        picture.resize(size, Image.Resampling.BICUBIC) for size in ((160, 120), (640, 480), (97, 71), (1600, 1200))
    ]
    copies += [Image.open(io.BytesIO(encoded(picture, "JPEG", quality=quality))) for quality in (10, 50, 90)]
    copies.append(picture.point(lambda value: min(255, int(value * 1.05) + 4)))
    assert max(distance(picture, copy) for copy in copies) <= NEAR_DUPLICATE_BITS


def test_symmetric_images_do_not_hash_their_noise() -> None:
    picture = Image.new("RGB", (200, 200), WHITE)
    picture.paste(Image.new("RGB", (80, 120), (200, 30, 30)), (60, 40))
    copies = [picture.resize((101, 99)), Image.open(io.BytesIO(encoded(picture, "JPEG", quality=20)))]
    assert max(distance(picture, copy) for copy in copies) <= NEAR_DUPLICATE_BITS


def test_different_images_are_far_apart() -> None:
    pictures = [photograph(seed=seed) for seed in range(20)]
    pictures += [Image.new("RGB", (40, 40), colour) for colour in (WHITE, BLACK, RED)]
    pictures += [pictures[0].transpose(turn) for turn in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_90)]
    distances = [distance(one, other) for index, one in enumerate(pictures) for other in pictures[:index]]
    assert min(distances) > NEAR_DUPLICATE_BITS


def test_a_plain_image_is_a_duplicate_of_its_own_colour_only() -> None:
    white = Image.new("RGB", (50, 50), WHITE)
    noise = np.random.default_rng(0).integers(252, 256, (70, 30, 3), dtype=np.uint8)
    assert distance(white, Image.fromarray(noise)) <= NEAR_DUPLICATE_BITS
    dot = white.copy()
    dot.paste(Image.new("RGB", (12, 12), BLACK), (5, 30))
    for other in (dot, Image.new("RGB", (50, 50), BLACK), Image.new("RGB", (50, 50), (255, 255, 120))):
        assert distance(white, other) > NEAR_DUPLICATE_BITS


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_every_size_has_a_hash_of_64_bits(height: int, width: int, seed: int) -> None:
    image = torch.randint(0, 256, (3, height, width), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    assert 0 <= perceptual_hash(image) < 2**64
