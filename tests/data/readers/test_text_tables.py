"""Tables of texts without pictures."""

from __future__ import annotations

from pathlib import Path

import pytest

from deixis.data.readers.columns import Columns
from deixis.data.readers.formats.text_tables import read_texts
from deixis.errors import DeixisError


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_each_row_is_a_text_and_the_other_columns_stay(tmp_path: Path) -> None:
    found = read_texts(table(tmp_path / "a.csv", "title,colour\na lute,brown\n,red\na shawm,black\n"), Columns())
    assert found is not None
    assert (found.kind, [each.captions for each in found.samples]) == ("text", [("a lute",), ("a shawm",)])
    assert [each.extra["colour"] for each in found.samples] == ["brown", "black"]
    assert all(each.image is None for each in found.samples)
    assert [each.reason for each in found.skipped] == ["no text"]
    named = read_texts(tmp_path / "a.csv", Columns(caption="colour"))
    assert named is not None
    assert [each.captions for each in named.samples] == [("brown",), ("red",), ("black",)]


def test_a_table_that_names_pictures_is_left_to_the_other_readers(tmp_path: Path) -> None:
    assert read_texts(table(tmp_path / "a.csv", "path,caption\na.jpg,a lute\n"), Columns()) is None
    assert read_texts(tmp_path, Columns()) is None


def test_a_table_without_texts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="neither"):
        read_texts(table(tmp_path / "a.csv", "colour\nbrown\n"), Columns())
