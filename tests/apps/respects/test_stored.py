"""Columns of a table become respects of a run, are read again as they were, and searches compare pictures in them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from deixis.apps.adapt.adapt import adapt_or_index
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.options import Reading
from deixis.apps.respects.stored import nearest_respect, read_respects
from deixis.apps.search.search import search
from deixis.apps.search.searcher import Searcher
from deixis.errors import DeixisError
from tests.commands import own_cache
from tests.pictures import COLOURS, picture

NAMES = dict(zip(COLOURS, ("red", "green", "blue", "yellow", "black", "violet"), strict=True))


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sheets of six colours; what their shop and their number is can't be seen."""
    folder, rng = tmp_path_factory.mktemp("products"), random.Random(0)
    rows = []
    for i in range(72):
        word = [*COLOURS][i % 6]
        path = picture(folder / f"{i:02}.png", COLOURS[word], rng)
        rows.append((path.name, NAMES[word], rng.choice(["north", "south"]), str(i), "tin"))
    with open(folder / "products.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "colour", "shop", "number", "stuff"), *rows])
    return folder / "products.csv"


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with own_cache(tmp_path_factory.mktemp("cache")):
        out = tmp_path_factory.mktemp("runs") / "run"
        settings = AdaptSettings(model="tiny", about=("colour", "shop"), splits=3)
        adapt_or_index(str(table), str(out), settings, Reading(), overwrite=False, quiet=True)
        yield out


def test_a_respect_that_pictures_show_is_offered_and_one_that_they_do_not_is_not(run: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["kind"] == "respects"
    assert list(result["respects"]) == ["colour"]
    assert result["respects"]["colour"]["sentence"].startswith("Alike in colour: of the first 10 pictures ")
    assert result["refused"]["shop"].endswith("no proven gain, so it is not offered.")


def test_results_share_the_colour_of_the_picture_more_often_in_that_respect(run: Path, table: Path) -> None:
    picture = table.parent / "02.png"
    found = search(run, images=(picture,), k=10, about="colour")
    assert all(hit.item["id"] != "02.png" for hit in found)
    plain = search(run, images=(picture,), k=10)
    counts = [sum(hit.item["colour"] == "blue" for hit in each) for each in (found, plain)]
    assert counts[0] >= max(8, counts[1])
    assert found.sentence == "Compared in colour alone."


def test_words_are_taken_for_a_value_and_other_words_for_the_nearest_respect(run: Path) -> None:
    searcher = Searcher(run)
    known = read_respects(run, str(searcher.index.manifest["fingerprint"]))
    assert nearest_respect("the COLOUR", known, searcher.encoder).name == "colour"
    found = search(run, "blue", k=5, about="its colour")
    assert found.sentence == "'its colour' is read as colour. Compared in colour alone."
    assert [hit.item["colour"] for hit in found] == ["blue"] * 5
    with pytest.raises(DeixisError, match="of another model"):
        read_respects(run, "another")


def test_columns_that_are_no_respect_are_refused_before_anything_is_written(table: Path, tmp_path: Path) -> None:
    wrong = {"number": "72 different values", "stuff": "one value 'tin'", "colr": "no column 'colr'"}
    for name, message in wrong.items():
        settings = AdaptSettings(model="tiny", about=(name,))
        with pytest.raises(DeixisError, match=message):
            adapt_or_index(str(table), str(tmp_path / "run"), settings, Reading(), overwrite=False, quiet=True)
    assert not [*tmp_path.iterdir()]
