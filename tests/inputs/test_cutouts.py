"""Cut-outs: what is seen is kept with its mask, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.errors import DeixisError
from deixis.inputs.cutouts import FAINT, is_cut_out, load_cutout
from deixis.inputs.images import ImageError, load_image
from deixis.types import Member


def stamp(width: int = 20, height: int = 12, margin: tuple[int, int, int, int] = (3, 2, 5, 4)) -> Image.Image:
    """A red sheet with a green corner inside an invisible blue frame (left, upper, right, lower margin)."""
    left, upper, right, lower = margin
    whole = Image.new("RGBA", (left + width + right, upper + height + lower), (0, 0, 255, 0))
    sheet = Image.new("RGBA", (width, height), (255, 0, 0, 255))
    sheet.paste((0, 255, 0, 255), (0, 0, 2, 2))
    whole.paste(sheet, (left, upper))
    return whole


def test_the_invisible_margin_is_cut_off_and_alpha_is_exact(tmp_path: Path) -> None:
    stamp().save(tmp_path / "a.png")
    pixels = load_cutout(tmp_path / "a.png")
    assert pixels.shape == (12, 20, 4)
    assert (pixels[..., 3] == 255).all()
    assert pixels[0, 0].tolist() == [0, 255, 0, 255]
    assert load_cutout(tmp_path / "a.png", crop=False).shape == (18, 28, 4)


def test_what_is_too_faint_to_be_seen_does_not_widen_the_crop() -> None:
    picture = stamp()
    picture.putpixel((0, 0), (0, 0, 0, FAINT - 1))
    assert load_cutout(picture).shape == (12, 20, 4)
    picture.putpixel((0, 0), (0, 0, 0, FAINT))
    assert load_cutout(picture).shape == (14, 23, 4)


def test_on_white_it_is_what_load_image_shows() -> None:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (9, 7, 4), dtype=np.uint8), "RGBA")
    pixels = load_cutout(picture, crop=False).astype(np.float64)
    alpha = pixels[..., 3:] / 255
    on_white = pixels[..., :3] * alpha + 255 * (1 - alpha)
    assert np.abs(on_white - load_image(picture).permute(1, 2, 0).numpy()).max() <= 1


@pytest.mark.parametrize("side", [5, 10, 20, 61])
def test_resizing_keeps_the_shape_and_lets_no_invisible_colour_bleed_in(side: int) -> None:
    picture = stamp()
    picture.paste((0, 0, 255, 0), (10, 6, 23, 14))  # an invisible bite out of the sheet
    pixels = load_cutout(picture, side=side)
    assert pixels.shape == (round(12 * side / 20), side, 4)
    assert pixels[..., 2][pixels[..., 3] >= FAINT].max() <= 2
    assert is_cut_out(pixels)


def test_a_cut_out_is_turned_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = stamp()
    picture.save(tmp_path / "turned.png", exif=exif)
    assert load_cutout(tmp_path / "turned.png").tolist() == np.rot90(load_cutout(picture), -1).tolist()


def test_palettes_and_grey_keep_their_transparency(tmp_path: Path) -> None:
    palette = Image.new("P", (6, 4), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.paste(1, (2, 1, 5, 3))
    palette.save(tmp_path / "palette.png", transparency=0)
    assert load_cutout(tmp_path / "palette.png").tolist() == np.full((2, 3, 4), [200, 100, 50, 255]).tolist()
    grey = Image.new("LA", (6, 4), (90, 0))
    grey.putpixel((4, 2), (90, 128))
    assert load_cutout(grey).tolist() == [[[90, 90, 90, 128]]]


def test_what_has_no_transparency_is_opaque_and_no_cut_out() -> None:
    for mode in ("RGB", "L", "CMYK", "I;16"):
        pixels = load_cutout(Image.new(mode, (3, 2)))
        assert (pixels[..., 3] == 255).all()
        assert not is_cut_out(pixels)


def test_a_member_of_an_archive_is_read_in_place(tmp_path: Path) -> None:
    stamp().save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.tar").write_bytes(b"before" + content + b"after")
    inside = load_cutout(Member(tmp_path / "a.tar", "a.png", 6, len(content)))
    assert inside.tolist() == load_cutout(tmp_path / "a.png").tolist()


def test_what_shows_nothing_or_is_too_large_is_an_image_error(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="all of it is transparent"):
        load_cutout(Image.new("RGBA", (4, 4)))
    with pytest.raises(ImageError, match="the limit is 10 pixels") as caught:
        load_cutout(stamp(), max_pixels=10)
    assert caught.value.reason == "too many pixels"
    with pytest.raises(ImageError, match="does not exist"):
        load_cutout(tmp_path / "nothing.png")
    stamp(64, 64).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:-60])
    with pytest.raises(ImageError):
        load_cutout(tmp_path / "cut.png")


@pytest.mark.parametrize("side", [0, -3, 10_001])
def test_a_side_that_makes_no_sense_is_refused(side: int) -> None:
    with pytest.raises(DeixisError, match="Ask for 1 to 10,000 pixels"):
        load_cutout(stamp(), side=side)
