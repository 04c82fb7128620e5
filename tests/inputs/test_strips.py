"""Very large pictures are made smaller while they are decoded: the same pixels as by decoding them whole."""

from __future__ import annotations

import functools
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from deixis.apps.serve.pictures import Pictures
from deixis.errors import DeixisError
from deixis.inputs import opening
from deixis.inputs.decode import strips
from deixis.inputs.decode.strips import reduced
from deixis.inputs.decode.upright import to_rgb
from deixis.inputs.images import ImageError, load_image, open_image
from deixis.inputs.opening import allow_pixels, allowed_pixels, opened

SIZE = (67, 53)
RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (SIZE[1], SIZE[0], 4), np.uint8)


@functools.cache
def noise(mode: str) -> Image.Image:
    image = Image.fromarray(NOISE, "RGBA")
    if mode == "P":
        return image.convert("RGB").quantize(64)
    if mode == "I;16":
        return Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    return image.convert(mode)


def saved(image: Image.Image, kind: str, **how: Any) -> bytes:
    with io.BytesIO() as memory:
        image.save(memory, kind, **how)
        return memory.getvalue()


def agrees(data: bytes, factor: int) -> None:
    """Reduced in bands is reduced as a whole."""
    with opened(data, max_pixels=None) as picture:
        small = reduced(picture, factor)
    with opened(data, max_pixels=None) as picture:
        picture.load()
        whole = to_rgb(picture).reduce(factor)
    assert small is not None
    assert small.size == whole.size
    np.testing.assert_array_equal(np.asarray(small), np.asarray(whole))


@pytest.fixture(autouse=True)
def small_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "_BAND", 1500)


@pytest.mark.parametrize("factor", [1, 3, 8, 60])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
def test_a_png_in_bands_is_the_png(mode: str, factor: int) -> None:
    agrees(saved(noise(mode), "PNG"), factor)


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "P", "CMYK", "I;16"])
def test_a_tiff_in_strips_is_the_tiff(mode: str, compression: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    for rows in (1, 10):
        monkeypatch.setattr(TiffImagePlugin, "STRIP_SIZE", rows * SIZE[0] * len(noise(mode).getbands()))
        data = saved(noise(mode), "TIFF", compression=compression)
        for factor in (1, 7):
            agrees(data, factor)


def tiled(pixels: np.ndarray, side: int) -> bytes:
    """A grey TIFF in tiles that are not compressed."""
    height, width = pixels.shape
    padded = np.pad(pixels, ((0, -height % side), (0, -width % side)))
    tiles = [
        padded[y : y + side, x : x + side].tobytes()
        for y in range(0, height, side) for x in range(0, width, side)
    ]  # fmt: skip
    count, entries = len(tiles), 10
    data = 8 + 2 + 12 * entries + 4 + 8 * count
    offsets = [data + i * side * side for i in range(count)]
    lists = 8 + 2 + 12 * entries + 4
    rows = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1),
        (322, 4, 1, side), (323, 4, 1, side), (324, 4, count, lists), (325, 4, count, lists + 4 * count),
    ]  # fmt: skip
    head = struct.pack("<2sHIH", b"II", 42, 8, entries) + b"".join(
        struct.pack("<HHII" if kind == 4 else "<HHIHxx", tag, kind, number, value) for tag, kind, number, value in rows
    )
    sizes = [side * side] * count
    return head + struct.pack("<I", 0) + struct.pack(f"<{2 * count}I", *offsets, *sizes) + b"".join(tiles)


def test_a_tiff_in_tiles_is_the_tiff() -> None:
    for factor in (1, 5, 30):
        agrees(tiled(NOISE[..., 0], 16), factor)


def test_what_hangs_on_the_whole_picture_is_left_to_a_whole_decoding() -> None:
    deep = Image.fromarray(NOISE[..., 0].astype(np.float32))
    for data in (
        saved(deep, "TIFF"),
        saved(noise("I;16"), "PNG"),
        saved(noise("RGB"), "BMP"),
        saved(noise("1"), "PNG"),
    ):
        with opened(data, max_pixels=None) as picture:
            assert reduced(picture, 4) is None


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_very_large_picture_stands_upright(turn: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {kind: saved(noise("RGB"), kind, exif=_turned(turn)) for kind in ("PNG", "TIFF")}
    plain = {kind: open_image(data) for kind, data in whole.items()}
    monkeypatch.setattr("deixis.inputs.images.MAX_PIXELS", 100)
    for kind, data in whole.items():
        np.testing.assert_array_equal(np.asarray(open_image(data)), np.asarray(plain[kind]))


def _turned(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif


def test_a_very_large_picture_comes_smaller_but_no_smaller_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("images", "opening"):
        monkeypatch.setattr(f"deixis.inputs.{module}.MAX_PIXELS", 1000)
    monkeypatch.setattr(strips, "TARGET", 500)
    for kind in ("PNG", "TIFF", "JPEG"):
        data = saved(noise("RGB"), kind)
        assert load_image(data, max_pixels=4000, smallest=20).shape[1:] == (27, 34)
        assert load_image(data, max_pixels=4000, smallest=50).shape[1:] == (53, 67)
        assert load_image(data, max_pixels=4000).shape[1:] == ((27, 34) if kind == "JPEG" else (18, 23))


def test_the_limit_in_force_holds_where_none_is_named() -> None:
    data, before = saved(noise("L"), "PNG"), allowed_pixels()
    try:
        allow_pixels(3000)
        with pytest.raises(ImageError, match="the limit is 3,000 pixels"):
            load_image(data)
        assert load_image(data, max_pixels=4000).shape[1:] == (53, 67)
        allow_pixels(4000)
        assert load_image(data).shape[1:] == (53, 67)
        with pytest.raises(DeixisError, match="max_pixels is 0"):
            allow_pixels(0)
    finally:
        allow_pixels(before)


def test_a_png_that_is_cut_short_is_named_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deixis.inputs.images.MAX_PIXELS", 100)
    data = saved(noise("RGB"), "PNG")
    with pytest.raises(ImageError, match="is cut short"):
        open_image(data[: len(data) // 2])


def gigapixel(path: Path, width: int = 40_000, height: int = 30_000, rows: int = 100) -> Path:
    """A TIFF of 1.2 gigapixels in colour, all strips of which are the same few bytes."""
    strip = zlib.compress(bytes(range(250)) * (3 * width * rows // 250))
    count = height // rows
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, 0), (259, 3, 1, 8), (262, 3, 1, 2), (273, 4, count, 0),
        (277, 3, 1, 3), (278, 4, 1, rows), (279, 4, count, 0),
    ]  # fmt: skip
    lists = 8 + 2 + 12 * len(entries) + 4
    places = {258: lists, 273: lists + 6, 279: lists + 6 + 4 * count}
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + b"".join(
        struct.pack("<HHII" if kind == 4 or number > 1 else "<HHIHxx", tag, kind, number, places.get(tag, value))
        for tag, kind, number, value in entries
    )
    where = lists + 6 + 8 * count
    tail = struct.pack("<I3H", 0, 8, 8, 8) + struct.pack(f"<{2 * count}I", *[where] * count, *[len(strip)] * count)
    path.write_bytes(head + tail + strip)
    return path


@pytest.mark.slow
def test_a_picture_of_a_gigapixel_is_indexed_without_gigabytes(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    gigapixel(tmp_path / "scans" / "map.tif")
    Image.new("RGB", (64, 48), "teal").save(tmp_path / "scans" / "small.png")
    code = (
        "import resource, sys\nfrom deixis.cli import main\ntry:\n    sys.exit(main())\nfinally:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "index", "scans", "--model", "tiny", "--out"]

    def run(*more: str) -> tuple[str, float]:
        done = subprocess.run(
            [*command, *more], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "DEIXIS_CACHE": str(tmp_path / "cache")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr, float(done.stderr.split()[-1]) / 1000

    said, before = run("small")
    assert "1 image indexed" in said
    said, megabytes = run("all", "--max-pixels", "2000000000")
    assert "2 images indexed" in said
    assert megabytes < before + 400
    assert opening.allowed_pixels() == opening.MAX_PIXELS


@pytest.mark.slow
def test_the_page_shows_a_picture_of_an_index_however_large_it_is(tmp_path: Path) -> None:
    path = gigapixel(tmp_path / "map.tif", 12_000, 10_000)
    with pytest.raises(ImageError, match="120,000,000 pixels"):
        load_image(path)
    pictures, item = Pictures(), {"path": str(path)}
    assert pictures.size(item, 0) == (12_000, 10_000)
    with Image.open(io.BytesIO(pictures.small(item, 320).data)) as small:
        assert small.size == (320, 267)
