"""Boxes of lines of text from a map, and the characters of a line from chances, without OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from deixis.nn.reading.pp_ocr import decoded
from deixis.nn.reading.text_boxes import TextBox, in_reading_order, one_line, straightened, text_boxes


def turned_bar(width: float, height: float, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """A map of 480 x 640 with a bar in the middle, and the corners of the bar."""
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * (width / 2, height / 2) @ turn + (320, 240)
    picture = Image.new("L", (640, 480))
    ImageDraw.Draw(picture).polygon([tuple(each) for each in corners.tolist()], fill=255)
    return np.asarray(picture) / np.float32(255), corners


@pytest.mark.parametrize("degrees", [0, 20, -35])
def test_a_box_is_the_bar_grown_by_what_its_area_by_its_circumference_says(degrees: float) -> None:
    chances, corners = turned_bar(240, 64, np.deg2rad(degrees))
    grown = 1.6 * 240 * 64 / (2 * (240 + 64))
    (box,) = text_boxes(chances, (1280, 960))
    sides = np.linalg.norm(np.roll(box.corners, -1, 0) - box.corners, axis=1) / 2
    assert sides == pytest.approx([240 + 2 * grown, 64 + 2 * grown] * 2, abs=6)  # pixels are thickened by one
    assert box.corners.mean(0) / 2 == pytest.approx(corners.mean(0), abs=1.5)
    assert np.abs(np.roll(box.corners, -1, 0) - box.corners)[0].argmax() == 0  # the upper side comes first
    assert box.score > 0.9


def test_weak_and_small_spots_are_no_text() -> None:
    chances, _ = turned_bar(240, 64, 0.0)
    assert text_boxes(chances * 0.4, (640, 480)) == []
    assert text_boxes(np.zeros((32, 32), np.float32), (32, 32)) == []
    dots = np.zeros((32, 32), np.float32)
    dots[5, 5] = dots[20, 3:30] = 1
    assert text_boxes(dots, (32, 32)) == []


def test_lines_are_read_from_the_top_and_each_from_the_left() -> None:
    def box(x: float, y: float) -> TextBox:
        return TextBox(np.array([(x, y), (x + 20, y), (x + 20, y + 10), (x, y + 10)], dtype=np.float64), 1.0)

    order = [(5, 2), (40, 0), (0, 20), (50, 24), (10, 60)]
    found = in_reading_order([box(*order[i]) for i in (3, 1, 4, 0, 2)])
    assert [tuple(each.corners[0]) for each in found] == order


def test_a_turned_line_is_shown_straight_and_one_that_stands_is_laid_down() -> None:
    picture = Image.new("RGB", (640, 480), "white")
    _, corners = turned_bar(60, 16, np.deg2rad(25))
    ImageDraw.Draw(picture).polygon([tuple(each) for each in corners.tolist()], fill="black")
    shown = straightened(picture, TextBox(corners, 1.0))
    assert shown.size == (60, 16)
    assert np.asarray(shown)[2:-2, 2:-2].mean() < 30
    standing = np.array([(10, 10), (20, 10), (20, 60), (10, 60)], dtype=np.float64)
    assert straightened(picture, TextBox(standing, 1.0)).size == (50, 10)


def test_a_picture_no_larger_than_a_line_may_be_one() -> None:
    assert one_line((109, 32)) is not None
    assert one_line((640, 480)) is None
    assert one_line((32, 32)) is None


def test_what_repeats_is_one_character_unless_a_gap_stands_between() -> None:
    steps = np.full((7, 4), 0.1)
    for step, number in enumerate((0, 1, 1, 0, 1, 2, 3)):
        steps[step, number] = 0.7 - step / 100
    text, chance = decoded(steps, "ab ")
    assert text == "aab "
    assert chance == pytest.approx(np.mean([0.69, 0.66, 0.65, 0.64]))
    assert decoded(steps[:1], "ab ") == ("", 0.0)
