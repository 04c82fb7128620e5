"""What `ground` and the readers of boxes are given and can't use: one message, or a skip that is counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import deixis
from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.types import Detections
from tests.capable import SureGrounder
from tests.commands import deixis as command

DOG = "\N{DOG FACE}"
PICTURE = Image.new("RGB", (40, 20), (220, 20, 20))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("the left one", "names no thing"),
        ("", "no text, or an empty one"),
        (" \t", "has no words|no text"),
        (DOG, "has no words"),
        ("a dog, " * 500, "has 3500 characters"),
        ("dog " * 250_000, "has 1000000 characters"),
    ],
    ids=["no noun", "nothing", "blanks", "emoji", "500 phrases", "a megabyte"],
)
def test_words_that_cannot_be_located_are_one_message(text: str, why: str) -> None:
    with pytest.raises(DeixisError, match=why) as refused:
        deixis.ground(PICTURE, text, model=SureGrounder(0.5))
    assert len(str(refused.value)) < 300


def test_without_words_the_command_says_so(tmp_path: Path) -> None:
    PICTURE.save(tmp_path / "a.png")
    found = command("ground", tmp_path / "a.png", "")
    assert (found.code, found.out) == (2, "")
    assert "no text, or an empty one" in found.err


@pytest.mark.parametrize("text", ["كلب أحمر", f"a {DOG} dog", "a qwrtzp", "ein Straßenhund", "chien\u200b"])
def test_words_that_nobody_knows_are_answered_with_nothing_here(text: str) -> None:
    found = deixis.ground(PICTURE, text, model=SureGrounder(0.95))
    assert isinstance(found, Detections)
    assert (len(found), len(found.missing)) == (0, 1)
    assert "nothing here" in str(found.missing[0])


BOX = {"zero size": [10, 5, 0, 5], "swapped": [30, 5, -20, 5], "not a number": [float("nan"), 5, 5, 5]}
BOX |= {"infinite": [10, 5, float("inf"), 5], "three numbers": [10, 5, 5]}


@pytest.mark.parametrize("numbers", list(BOX.values()), ids=list(BOX))
@pytest.mark.parametrize("form", ["json", "csv"])
def test_a_box_that_is_none_is_skipped_and_counted_in_every_form(
    tmp_path: Path, form: str, numbers: list[float]
) -> None:
    source = written(tmp_path, form, [[0, 0, 20, 10], numbers])
    assert len(source.samples[0].regions) == 1
    assert [each.reason for each in source.skipped] in (["box has no area"], ["box is not four numbers"])


@pytest.mark.parametrize("form", ["json", "csv"])
def test_500_boxes_of_a_picture_are_read_and_shares_among_pixels_are_not(tmp_path: Path, form: str) -> None:
    boxes: list[list[float]] = [[number % 20, 5, 10, 10] for number in range(500)]
    assert len(written(tmp_path, form, boxes).samples[0].regions) == 500
    if form == "csv":
        source = written(tmp_path, form, [*boxes[:3], [0.1, 0.1, 0.5, 0.5]])
        assert [each.reason for each in source.skipped] == ["box is in another unit"]


def test_a_picture_without_boxes_is_a_sample_without_regions(tmp_path: Path) -> None:
    assert [each.regions for each in written(tmp_path, "json", []).samples] == [()]


@pytest.mark.parametrize("size", [(1, 1), (2000, 2), (2, 2000)])
def test_tiny_and_wide_pictures_are_answered(size: tuple[int, int]) -> None:
    found = deixis.ground(PICTURE.resize(size), "red", model=SureGrounder(0.5))
    assert isinstance(found, Detections)
    assert torch.isfinite(found.boxes).all()


def written(folder: Path, form: str, boxes: list[list[float]]) -> Any:
    """A picture with boxes, as COCO's json or as a table, read."""
    PICTURE.save(folder / "a.png")
    path = folder / f"boxes.{form}"
    if form == "csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            rows = [("a.png", "a dog", " ".join(map(str, each))) for each in boxes]
            csv.writer(file).writerows([("image", "phrase", "bbox"), *rows])
    else:
        content: dict[str, Any] = {"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 20}]}
        content["annotations"] = [{"image_id": 1, "bbox": each, "phrase": "a dog"} for each in boxes]
        path.write_text(json.dumps(content), encoding="utf-8")
    return read(path)
