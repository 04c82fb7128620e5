"""Samples: where an image can come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.types import Drawing, Member, Sample, place


class Square:
    """A drawing."""

    name = "a black square"

    def draw(self) -> np.ndarray:
        return np.zeros((2, 2, 3), dtype=np.uint8)


def test_a_member_is_a_stretch_of_its_archive(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    archive.write_bytes(b"0123456789")
    assert Member(archive, "b.jpg", 3, 4).read() == b"3456"
    assert place(Member(archive, "b.jpg", 3, 4)) == f"{archive}/b.jpg"


def test_a_place_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert place(Path("a.jpg")) == f"{tmp_path}/a.jpg"
    assert place(Member(Path("a.tar"), "b.jpg", 3, 4)) == f"{tmp_path}/a.tar/b.jpg"


def test_what_draws_is_a_drawing_and_a_file_is_none() -> None:
    assert isinstance(Square(), Drawing)
    assert not isinstance(Path("a.jpg"), Drawing)
    assert place(Square()) == "a black square"


def test_words_alone_have_no_picture() -> None:
    with pytest.raises(DeixisError, match="'a' has no image"):
        _ = Sample("a", None, ("words",)).picture
