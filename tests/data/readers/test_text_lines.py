"""Texts without images, one a line."""

from __future__ import annotations

from pathlib import Path

import pytest

from deixis.data.readers.text_lines import read_text_lines
from deixis.errors import DeixisError


def test_each_line_that_is_not_empty_is_a_sample_without_an_image(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_text("\ufeffParking\n\n  Straße \n", encoding="utf-8")
    source = read_text_lines(path)
    assert [each.captions for each in source.samples] == [("Parking",), ("Straße",)]
    assert (source.kind, {each.image for each in source.samples}) == ("text", {None})
    path.write_bytes(b"\n\n")
    with pytest.raises(DeixisError, match="holds no text"):
        read_text_lines(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DeixisError, match="can't be read as texts"):
        read_text_lines(path)
