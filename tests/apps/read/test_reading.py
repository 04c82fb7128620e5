"""Lines of text are found and read: by the reader, or found by it and read by a run."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageDraw

import deixis
from deixis.data.datasets import photos_words
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.ops.text.spelling import plain_word
from tests.capable import Reader as OneWord
from tests.commands import deixis as command


@pytest.fixture
def sign(tmp_path: Path) -> Path:
    """White, with two dark bars side by side and one below."""
    picture = Image.new("RGB", (400, 300), "white")
    draw = ImageDraw.Draw(picture)
    for corner in ((220, 40), (40, 44), (40, 200)):
        draw.rectangle((*corner, corner[0] + 100, corner[1] + 30), fill="black")
    picture.save(tmp_path / "sign.png")
    return tmp_path / "sign.png"


@pytest.fixture
def bars(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The reader for tests, by which dark pixels are text and all text is `a`."""
    reader = build("ppocr", "tiny")
    monkeypatch.setattr("deixis.apps.read.read.open_or_default", lambda model, capability: model or reader)
    monkeypatch.setattr("deixis.data.datasets.sources.reader.require_reader", lambda: None)
    return reader


def test_lines_come_in_reading_order_with_their_boxes_and_chances(bars: Any, sign: Path) -> None:
    (found,) = deixis.read_words(sign)
    assert [each.text for each in found.words] == ["a", "a", "a"]
    assert found.text == "a a a"
    left, top = ([each.box[side] * size for each in found.words] for side, size in ((0, 400), (1, 300)))
    assert left == pytest.approx([40, 220, 40], abs=30)  # boxes grow
    assert top == pytest.approx([44, 40, 200], abs=30)
    assert all(each.chance == pytest.approx(0.9) for each in found.words)
    assert found.overlay().size == (400, 300)
    assert deixis.read("", [sign]) == ["a a a"]


def test_a_picture_without_text_says_so_and_has_an_empty_row(bars: Any, tmp_path: Path) -> None:
    Image.new("RGB", (300, 200), "white").save(tmp_path / "blank.png")
    found = command("read", tmp_path / "blank.png")
    assert (found.code, "no words found" in found.out) == (0, True), found.err
    assert command("read", tmp_path / "blank.png", "--out", tmp_path / "words.csv").code == 0
    with open(tmp_path / "words.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "text", "x0", "y0", "x1", "y1", "chance"]
    assert (len(rows), rows[0]["text"]) == (1, "")


def test_a_word_that_was_cut_out_is_read_though_no_line_is_found_in_it(bars: Any) -> None:
    cut = Image.new("RGB", (100, 32), "white")
    (found,) = deixis.read_words([cut])
    assert [(each.text, each.box) for each in found.words] == [("a", (0.0, 0.0, 1.0, 1.0))]


def test_a_model_reads_what_the_reader_finds(bars: Any, sign: Path) -> None:
    (found,) = deixis.read_words(sign, model=OneWord())
    assert len(found.words) in (0, 3)
    recogniser = build("parseq", "tiny").eval()
    (found,) = deixis.read_words(sign, model=recogniser)
    assert all(0 <= each.chance <= 1 for each in found.words)


def test_without_the_reader_one_message_says_how_to_get_it(sign: Path) -> None:
    found = command("read", sign)
    assert (found.code, found.out) == (2, "")
    assert f"not in {cache_dir('reader')}" in found.err.replace("\n", " ")
    assert "deixis data get reader" in found.err
    with pytest.raises(DeixisError, match="deixis data get reader"):
        deixis.read_words(sign)


WORN = {"Wivenhoe", "Park"}
"""Letters are missing on the sign."""


@pytest.mark.slow
def test_signs_on_photographs_are_read_and_so_are_words_cut_out(fetched: Callable[[str], Path]) -> None:
    pytest.importorskip("onnxruntime")
    fetched("reader")
    folder, rows = fetched("photos"), photos_words._rows()
    found = deixis.read_words([folder / row["picture"] for row in rows])
    for each, row in zip(found, rows, strict=True):
        read = plain_word(each.text)
        wanted = {*row["words"], *row.get("others", ())} - WORN
        missing = [word for word in wanted if plain_word(word) not in read]
        assert not missing, f"{row['picture']}: {missing} are not in {each.text!r}"
        assert all(line.chance >= 0.5 for line in each.words)
