"""Whichever decoder is installed, a JPEG has the same pixels, and a bad one the same error."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deixis.inputs.decode import jpeg
from deixis.inputs.images import ImageError, load_image, open_image
from tests.support import examples

pytest.importorskip("simplejpeg")


def encoded(height: int, width: int, mode: str = "RGB", seed: int = 0, **options) -> bytes:
    """Smooth colours with noise."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)).resize((width, height))
    values = np.clip(np.asarray(coarse) + rng.integers(-30, 31, (height, width, 3)), 0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).convert(mode).save(stream, "JPEG", **options)
    return stream.getvalue()


@contextmanager
def by_pillow() -> Iterator[None]:
    with mock.patch.object(jpeg, "_library", return_value=None):
        yield


def outcome(data: bytes, smallest: int | None = None) -> torch.Tensor | tuple[str, str]:
    try:
        return load_image(data, smallest=smallest, max_pixels=100_000)
    except ImageError as error:
        return error.reason, error.found


def equal(one: torch.Tensor | tuple, other: torch.Tensor | tuple) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    return one == other


# --- the same pixels --------------------------------------------------------------------------------------------------


@examples(150)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
    subsampling=st.sampled_from(["4:4:4", "4:2:2", "4:2:0"]),
    quality=st.integers(1, 100),
    progressive=st.booleans(),
    orientation=st.integers(0, 8),
    smallest=st.one_of(st.none(), st.integers(1, 140)),
    seed=st.integers(0, 9),
)
def test_any_jpeg_has_the_same_pixels_by_both_decoders(
    height, width, mode, subsampling, quality, progressive, orientation, smallest, seed
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": quality, "progressive": progressive, "exif": exif}
    if mode == "RGB":
        options["subsampling"] = subsampling
    data = encoded(height, width, mode, seed, **options)
    image = load_image(data, smallest=smallest)
    with by_pillow():
        assert torch.equal(image, load_image(data, smallest=smallest))
    picture = open_image(data, smallest=smallest)
    assert picture.mode == "RGB"
    assert torch.equal(image, torch.from_numpy(np.array(picture)).permute(2, 0, 1))


KINDS = {
    "4:4:4": {"subsampling": "4:4:4"},
    "4:2:0": {"subsampling": "4:2:0"},
    "progressive": {"progressive": True},
    "grey": {"mode": "L"},
    "RGB without a change of colours": {"keep_rgb": True, "subsampling": 0},
    "restart markers": {"restart_marker_blocks": 3},
}


@pytest.mark.parametrize("kind", KINDS)
def test_simplejpeg_takes_what_is_plain_and_whole_at_every_scale(kind: str) -> None:
    data = encoded(203, 330, **KINDS[kind])
    for scale in (1, 2, 4, 8):
        picture = Image.open(io.BytesIO(data))
        picture.draft(None, (330 // scale, 203 // scale))
        assert picture.size == (-(-330 // scale), -(-203 // scale))
        pixels = jpeg.decode(data, picture.size)
        assert pixels is not None
        assert np.array_equal(pixels, np.array(picture.convert("RGB")))


def test_several_pictures_in_one_file_and_what_follows_the_end_do_no_harm() -> None:
    first, second = encoded(40, 50), encoded(30, 20, seed=1)
    stream = io.BytesIO()
    Image.open(io.BytesIO(first)).save(stream, "MPO", save_all=True, append_images=[Image.open(io.BytesIO(second))])
    assert Image.open(stream).format == "MPO"
    for data in (stream.getvalue(), first + second, first + b"holiday"):
        assert jpeg.decode(data, (50, 40)) is not None
        with by_pillow():
            expected = load_image(data)
        assert torch.equal(load_image(data), expected)


def test_threads_decode_what_one_thread_decodes() -> None:
    files = [encoded(60 + seed, 90, seed=seed) for seed in range(8)] * 8
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(load_image, files))
    assert all(torch.equal(load_image(one), other) for one, other in zip(files, together, strict=True))


def test_a_turned_jpeg_is_left_to_pillow_which_turns_it_in_place() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with mock.patch.object(jpeg, "decode", side_effect=AssertionError):
        assert load_image(encoded(40, 60, exif=exif)).shape == (3, 60, 40)


# --- what is left to Pillow -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spoilt", ["cmyk", "cut", "another size", "no jpeg", "too small to tell its scale"])
def test_what_is_not_plain_is_left_to_pillow(spoilt: str) -> None:
    whole = encoded(40, 50)
    data, size = {
        "cmyk": (encoded(40, 50, "CMYK"), (50, 40)),
        "cut": (whole[:-300], (50, 40)),
        "another size": (whole, (51, 40)),
        "no jpeg": (b"\xff\xd8\xff\xe0" + bytes(90), (50, 40)),
        "too small to tell its scale": (encoded(3, 3), (3, 3)),
    }[spoilt]
    assert jpeg.decode(data, size) is None


@pytest.mark.parametrize("cut", [0.02, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_cut_short_is_told_alike(progressive: bool, cut: float) -> None:
    data = encoded(64, 80, progressive=progressive)
    data = data[: int(cut * len(data))]
    found = outcome(data)
    assert found[0] == "truncated"
    with by_pillow():
        assert outcome(data) == found


@examples(150)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
    smallest=st.sampled_from([None, 20]),
)
def test_damaged_bytes_give_the_same_pixels_or_the_same_error(kind: str, changes: list, cut: int, smallest) -> None:
    data = bytearray(encoded(50, 70, **KINDS[kind]))
    for where, value in changes:
        data[int(where * len(data))] = value
    damaged = bytes(data[: len(data) - max(0, cut - 20)])
    found = outcome(damaged, smallest)
    with by_pillow():
        assert equal(outcome(damaged, smallest), found)


def test_a_header_beyond_the_limit_reaches_no_decoder() -> None:
    data = bytearray(encoded(40, 50))
    start = next(i for i in itertools.count() if data[i : i + 2] == b"\xff\xc0")
    data[start + 5 : start + 9] = b"\xea\x60\xea\x60"  # 60,000 x 60,000
    untouched = SimpleNamespace()  # anything that is asked of it raises
    with mock.patch.object(jpeg, "_library", return_value=untouched), pytest.raises(ImageError) as caught:
        load_image(bytes(data))
    assert caught.value.reason == "too many pixels"


# --- which it is ------------------------------------------------------------------------------------------------------


def test_the_decoder_is_told_and_is_pillow_without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    assert jpeg.decoder() == "simplejpeg"
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    jpeg._library.cache_clear()
    try:
        assert jpeg.decoder() == "Pillow"
        assert jpeg.decode(encoded(40, 50), (50, 40)) is None
    finally:
        jpeg._library.cache_clear()
