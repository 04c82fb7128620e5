"""A product table as the bench writes it, and what is read of the sentences about its columns."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from bench import about_rows
from deixis.data.synthetic.coloured_clothes import GROUNDS, ColouredPicture
from deixis.types import Sample, Source


class Garment:
    """A light square."""

    name = "garment"

    def draw(self) -> np.ndarray:
        return np.full((28, 28, 3), 200, np.uint8)


def clothes(seed: int, count: int, part: str, side: int) -> Source:
    """As many greys as pictures, from the darkest to the lightest."""
    greys = np.linspace(GROUNDS[0], GROUNDS[1] - 1, count).astype(int).tolist()
    pictures = [ColouredPicture(Garment(), "red", grey, side) for grey in greys]
    samples = tuple(Sample(f"{number}", each, label="shirt") for number, each in enumerate(pictures))
    return Source("clothes", Path(), "captions", "drawn", samples)


def test_the_table_has_a_column_that_can_not_be_seen_and_a_row_a_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(about_rows, "coloured_clothes", clothes)
    table = about_rows.products(tmp_path, 30, 0)
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [*rows[0]] == ["path", *about_rows.COLUMNS]
    assert [row["ground"] for row in rows] == ["dark"] * 10 + ["middling"] * 10 + ["light"] * 10
    assert {row["maker"] for row in rows} == {*about_rows.MAKERS}
    assert all((tmp_path / row["path"]).is_file() for row in rows)


def test_figures_are_those_of_the_sentence() -> None:
    told = "Alike in kind: of the first 10 pictures 6.4 share it [6.0, 6.8], before 3.1, by a linear classifier"
    expected = {"before": 3.1, "after": 6.4, "low": 6.0, "high": 6.8, "way": "a linear classifier"}
    assert about_rows._figures(f"{told}.") == expected
    assert about_rows._figures(f"{told}: no proven gain, so it is not offered.") == expected
