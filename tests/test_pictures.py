"""Contact sheets: what a set looks like, with its words, at a glance."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis.data import read
from deixis.data.synthetic.people import people
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.errors import DeixisError
from docs import pictures
from tests.pictures import captioned


def test_a_contact_sheet_shows_pictures_from_all_over_a_source(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(100):
        Image.new("RGB", (30, 20), (number, 255 - number, 0)).save(data / f"{number:03}.png")
    (data / "000.txt").write_text("the first")
    sheet = np.asarray(pictures.contact_sheet(read(data), columns=5, rows=2))
    reds = {int(red) for red, green, blue in sheet.reshape(-1, 3) if blue == 0 and red + green == 255}
    assert set(range(0, 100, 10)) <= reds
    assert not {5, 15, 95} & reds


@pytest.mark.slow
def test_fewer_pictures_make_a_lower_sheet_and_a_broken_one_is_red(tmp_path: Path) -> None:
    data = captioned(tmp_path / "data", 3)
    full = pictures.contact_sheet(read(data), columns=2)
    (sorted(data.glob("*.png"))[1]).write_bytes(b"no picture")
    sheet = pictures.contact_sheet(read(data), columns=2)
    assert sheet.size == full.size
    assert pictures.contact_sheet(read(data), columns=3).height < sheet.height
    assert np.asarray(sheet).reshape(-1, 3).tolist().count([255, 0, 0]) >= pictures.SMALL**2


def test_boxes_are_drawn_around_what_they_are_boxes_of() -> None:
    source = scenes(0, 1, side=96, config=SceneConfig(cast="shapes", rho=0.0))
    sheet = np.asarray(pictures.contact_sheet(source, columns=1)).reshape(-1, 3)
    inks = pictures.INKS[: len(source.samples[0].regions)]
    assert all((sheet == ink).all(axis=1).any() for ink in inks)


def test_a_sheet_is_written_in_the_format_that_its_name_tells(tmp_path: Path) -> None:
    data = captioned(tmp_path / "data", 2)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG")):
        pictures.main([str(data), str(tmp_path / name)])
        assert Image.open(io.BytesIO((tmp_path / name).read_bytes())).format == kind
    with pytest.raises(DeixisError, match="gone"):
        pictures.main(["gone", str(tmp_path / "b.png")])
    assert not (tmp_path / "b.png").exists()


def test_only_sets_in_the_cache_get_a_sheet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("deixis.data.datasets.people.people", functools.partial(people, count=20))
    assert [path.stem for path in pictures.write_local(tmp_path / "sheets")] == ["people"]  # made from nothing
