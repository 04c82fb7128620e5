"""SVG becomes pixels: the same ones everywhere, of the drawing alone."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.data.datasets.sources import svg
from deixis.errors import DeixisError

HEAD = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'


def drawn(body: str, frame: str = 'width="40" height="20"', width: int | None = None) -> np.ndarray:
    pytest.importorskip("resvg_py")
    return np.asarray(svg.render_svg(f"{HEAD} {frame}>{body}</svg>", width=width))


def test_a_drawing_keeps_its_colours_and_lets_through_what_is_empty() -> None:
    pixels = drawn('<rect width="20" height="20" fill="#f00"/>')
    assert pixels.shape == (20, 40, 4)
    assert pixels[10, 5].tolist() == [255, 0, 0, 255]
    assert pixels[10, 30, 3] == 0


def test_a_width_sets_the_height_and_lengths_in_points_have_pixels() -> None:
    assert drawn("", width=80).shape == (40, 80, 4)
    assert drawn("", frame='width="30pt" height="15pt"').shape == (20, 40, 4)


@pytest.mark.parametrize("address", ["red.png", "{folder}/red.png", "file://{folder}/red.png"])
def test_no_file_of_this_machine_gets_into_a_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "red.png")
    monkeypatch.chdir(tmp_path)
    body = f'<image xlink:href="{address.format(folder=tmp_path)}" width="40" height="20"/>'
    assert drawn(body)[..., 3].max() == 0


def test_what_a_drawing_refers_to_inside_itself_is_drawn() -> None:
    body = '<defs><rect id="r" width="40" height="20" fill="blue"/></defs><use xlink:href="#r"/>'
    assert drawn(body)[10, 10].tolist() == [0, 0, 255, 255]


def test_text_is_not_drawn_as_fonts_differ() -> None:
    assert drawn('<text x="2" y="15">deixis</text>')[..., 3].max() == 0


def test_a_crop_is_of_the_size_asked_for_and_leaves_no_empty_page() -> None:
    pytest.importorskip("resvg_py")
    page = f'{HEAD} width="1000" height="2000"><rect x="700" y="90" width="200" height="100" fill="green"/></svg>'
    picture = svg.crop_svg(page, 64)
    assert 60 <= max(picture.size) <= 64
    assert picture.width / picture.height == pytest.approx(2, abs=0.1)
    assert np.asarray(picture)[5:-5, 5:-5, 3].min() == 255


@pytest.mark.parametrize("text", ["", "no svg", f"{HEAD}", f'{HEAD} width="0" height="0"/>', f"{HEAD}/>"])
def test_what_cannot_be_drawn_is_a_value_error(text: str) -> None:
    pytest.importorskip("resvg_py")
    with pytest.raises(ValueError, match=r"[a-z]"):
        svg.crop_svg(text, 64)


def test_blank_is_what_shows_nothing_on_white() -> None:
    assert svg.is_blank(Image.new("RGBA", (4, 4), (0, 0, 0, 0)))
    assert svg.is_blank(Image.new("RGBA", (4, 4), "white"))
    assert not svg.is_blank(Image.new("RGBA", (4, 4), "red"))


def test_without_the_renderer_its_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(DeixisError, match=r"resvg-py.*deixis\[data\]"):
        svg.require_renderer()
