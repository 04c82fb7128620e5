"""Test photographs: what is a photograph, what is not, and what shows one scene."""

from __future__ import annotations

import collections
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.data import catalogue
from deixis.data.datasets import photos
from deixis.data.datasets.sources import cache
from deixis.data.splits import concept_groups
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from tests.registries import needs_dpkg, pixels, quiet

Apt = Callable[[str, Callable[[Path], None]], None]

EXAMPLES = "usr/share/doc/opencv-doc/examples"


def opencv(root: Path) -> None:
    for name in ("fruits", "leuvenA", "leuvenB", "left", "right", "left01", "right02", "new", "gradient"):
        pixels(root / EXAMPLES / "data" / f"{name}.jpg")
    for name in ("scenetext01.jpg", "scenetext_segmented_word01.jpg", "scenetext_segmented_word01_mask.png"):
        pixels(root / EXAMPLES / "text" / name)
    pixels(root / EXAMPLES / "face" / "elsewhere.jpg")


def darknet(root: Path) -> None:
    pixels(root / "usr/share/darknet/data/dog.jpg")
    pixels(root / "usr/share/darknet/data/labels/100_0.png")
    notice = root / "usr/share/doc/darknet/copyright"
    notice.parent.mkdir(parents=True)
    notice.write_text("MIT", encoding="utf-8")


@needs_dpkg
def test_each_picture_says_what_it_is(apt: Apt) -> None:
    apt("opencv-doc", opencv)
    apt("darknet", darknet)
    folder = photos.fetch(quiet)
    assert (folder / "copyright-darknet").read_text() == "MIT"
    source = catalogue.read("photos")
    assert source.kind == "images"
    assert {sample.id: sample.extra["what"] for sample in source.samples} == {
        "darknet/dog.jpg": "photographs",
        "data/fruits.jpg": "photographs",
        "data/gradient.jpg": "graphics",
        "data/left.jpg": "photographs",
        "data/left01.jpg": "calibration",
        "data/leuvenA.jpg": "photographs",
        "data/leuvenB.jpg": "photographs",
        "data/new.jpg": "other",
        "data/right.jpg": "photographs",
        "data/right02.jpg": "calibration",
        "text/scenetext01.jpg": "scene-text",
        "text/scenetext_segmented_word01.jpg": "scene-text",
    }
    assert source.samples[-1].extra["mask"].endswith("scenetext_segmented_word01_mask.png")
    assert all(sample.extra["photo"] for sample in catalogue.read("photos/photographs").samples)
    assert len(catalogue.read("photos/photographs").samples) == 6


@needs_dpkg
def test_pictures_of_one_scene_are_of_one_group(apt: Apt) -> None:
    apt("opencv-doc", opencv)
    apt("darknet", darknet)
    photos.fetch(quiet)
    samples = catalogue.read("photos").samples
    groups = dict(zip((Path(sample.id).stem for sample in samples), concept_groups(samples), strict=True))
    assert groups["leuvenA"] == groups["leuvenB"]
    assert groups["left"] == groups["right"]
    assert groups["left01"] == groups["right02"]
    assert len(set(groups.values())) == len(groups) - 3


@needs_dpkg
def test_without_darknet_there_are_fewer_pictures_and_a_line_that_says_so(apt: Apt) -> None:
    apt("opencv-doc", opencv)
    said: list[str] = []
    photos.fetch(said.append)
    assert any("without the seven pictures of darknet" in line and "does not know" in line for line in said)
    assert len(catalogue.read("photos").samples) == 11


@needs_dpkg
def test_without_opencv_there_is_no_set(apt: Apt) -> None:
    apt("darknet", darknet)
    with pytest.raises(DeixisError, match="'opencv-doc'"):
        photos.fetch(quiet)
    assert not cache.finished("photos")


@pytest.mark.slow
def test_every_real_picture_is_known_and_readable(fetched: Callable[[str], Path]) -> None:
    fetched("photos")
    samples = catalogue.read("photos").samples
    counts = collections.Counter(sample.extra["what"] for sample in samples)
    assert counts["photographs"] >= 30
    assert counts["other"] <= 5  # another release of Debian may have more
    for sample in samples:
        assert load_image(sample.picture).shape[0] == 3
