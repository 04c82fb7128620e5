"""Results of a search as pictures, with boxes around what the query names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from deixis.errors import DeixisError
from tests.capable import Grounder
from tests.commands import deixis


@pytest.fixture(autouse=True)
def detector(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deixis.apps.search.hit_boxes.open_or_default", lambda model, capability: Grounder())


def test_results_are_written_with_boxes_around_what_the_words_name(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "hits"
    code, printed, err = deixis("search", place / "plain", "red", "--k", 4, "--boxes", out)
    assert (code, err) == (0, "")
    assert "4 pictures with boxes" in printed
    assert printed.count(".png") + printed.count(".jpg") == 4
    rows = list(csv.DictReader((out / "predictions.csv").read_text("utf-8").splitlines()))
    assert {row["phrase"] for row in rows} <= {"red"}
    assert len(list((out / "pictures").iterdir())) == 4
    again = deixis("search", place / "plain", "red", "--boxes", out)
    assert (again.code, again.out) == (2, "")
    assert str(out) in again.err


def test_boxes_of_results_go_into_one_file_for_other_programs(place: Path, tmp_path: Path) -> None:
    assert deixis("search", place / "plain", "red", "--k", 3, "--boxes", tmp_path / "hits.json").code == 0
    assert len(json.loads((tmp_path / "hits.json").read_text("utf-8"))["images"]) == 3


def test_a_query_without_words_names_nothing_to_draw_and_nothing_is_left_behind(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = deixis("search", place / "plain", place / "pictures" / "07.png", "--boxes", tmp_path / "hits")
    assert done.code == 2
    assert "the query has none" in done.err

    def refuse(model: str, capability: str) -> None:
        raise DeixisError("There is no detector.", "Get it: deixis data get detector")

    monkeypatch.setattr("deixis.apps.search.hit_boxes.open_or_default", refuse)
    assert "deixis data get detector" in deixis("search", place / "plain", "red", "--boxes", tmp_path / "hits").err
    assert list(tmp_path.iterdir()) == []
