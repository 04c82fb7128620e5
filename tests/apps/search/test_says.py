"""Pictures are found by the words that stand in them, one wrong letter and lost spaces forgiven."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from deixis.apps.search.says import says
from deixis.engine.training.build import build
from deixis.errors import DeixisError
from tests.commands import deixis as command

TEXTS = {"a.png": "NOPARKING", "b.png": "No parkng here", "c.png": "Sports Centre", "d.png": ""}


@pytest.fixture
def indexed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of pictures with a dark bar each, in which a reader for tests reads these words."""
    for number, name in enumerate(TEXTS):
        picture = Image.new("RGB", (200, 180 + number), "white")
        ImageDraw.Draw(picture).rectangle((40, 40, 150, 60), fill="black" if TEXTS[name] else "white")
        (tmp_path / "pictures").mkdir(exist_ok=True)
        picture.save(tmp_path / "pictures" / name)
    reader, texts = build("ppocr", "tiny"), iter(filter(None, TEXTS.values()))
    monkeypatch.setattr(reader, "read_lines", lambda pictures: ([next(texts)], [1.0]))
    monkeypatch.setattr("deixis.apps.read.collection.open_or_default", lambda model, capability: reader)
    out = tmp_path / "index"
    found = command("index", tmp_path / "pictures", "--model", "tiny", "--out", out, "--read")
    assert found.code == 0, found.err
    assert "Words were read in 3 of 4 pictures" in found.err
    return out


def test_words_are_found_whatever_their_case_and_those_that_are_right_come_first(indexed: Path) -> None:
    def names(words: str, k: int = 10) -> list[str]:
        return [Path(item["path"]).name for item in says(indexed, words, k)]

    assert names("parking") == ["a.png", "b.png"]
    assert names("Parking", 1) == ["a.png"]
    assert names("centre SPORTS") == ["c.png"]
    assert names("no") == ["b.png"]  # of so short a word no letter may be wrong
    assert names("car park") == []
    found = command("search", indexed, "--says", "parking")
    assert [line.rpartition(": ")[2] for line in found.out.splitlines()] == ["NOPARKING", "No parkng here"]
    assert "In no picture" in command("search", indexed, "--says", "zebra").out
    assert "takes no query" in command("search", indexed, "a sign", "--says", "zebra").err
    with pytest.raises(DeixisError, match="no letters"):
        says(indexed, "?!")


def test_of_an_index_without_words_it_is_said_how_they_come_there(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for number in range(2):
        Image.new("RGB", (40 + number, 40), (number * 90, 9, 9)).save(tmp_path / "pictures" / f"{number}.png")
    assert command("index", tmp_path / "pictures", "--model", "tiny", "--out", tmp_path / "index").code == 0
    with pytest.raises(DeixisError, match="--read"):
        says(tmp_path / "index", "parking")
