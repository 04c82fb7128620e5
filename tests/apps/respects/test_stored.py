"""Columns of a table become respects of a run, are read again as they were, and searches compare pictures in them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from deixis.apps.adapt.respects import with_label_column
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.adapt.tasks import adapt_or_index
from deixis.apps.common.options import Reading
from deixis.apps.respects.stored import Respect, nearest_respect, read_respects, write_respects
from deixis.apps.search.search import search
from deixis.apps.search.searcher import Searcher
from deixis.engine.adaptation.respects import RespectMap
from deixis.errors import DeixisError
from deixis.types import Sample, Source
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
        settings = AdaptSettings(model="tiny", about=("colour, shop",), splits=3)
        adapt_or_index(str(table), str(out), settings, Reading(), overwrite=False, quiet=True)
        yield out


@pytest.mark.slow
def test_a_respect_that_pictures_show_is_offered_and_one_that_they_do_not_is_not(run: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    assert result["kind"] == "respects"
    assert list(result["respects"]) == ["colour"]
    assert result["respects"]["colour"]["sentence"].startswith("Alike in colour: of the first 10 pictures ")
    assert result["refused"]["shop"].endswith("no proven gain, so it is not offered.")


@pytest.mark.slow
def test_results_share_the_colour_of_the_picture_more_often_in_that_respect(run: Path, table: Path) -> None:
    picture = table.parent / "02.png"
    found = search(run, images=(picture,), k=10, about="colour")
    assert all(hit.item["id"] != "02.png" for hit in found)
    plain = search(run, images=(picture,), k=10)
    counts = [sum(hit.item["colour"] == "blue" for hit in each) for each in (found, plain)]
    assert counts[0] >= max(8, counts[1])
    assert found.sentence == "Compared in colour alone."


@pytest.mark.slow
def test_words_are_taken_for_a_value_and_other_words_for_the_nearest_respect(run: Path) -> None:
    searcher = Searcher(run)
    known = read_respects(run, str(searcher.index.manifest["fingerprint"]))
    assert nearest_respect("the COLOUR", known, searcher.encoder.encode_text).name == "colour"
    found = search(run, "blue", k=5, about="its colour")
    assert found.sentence == "'its colour' is read as colour. Compared in colour alone."
    assert [hit.item["colour"] for hit in found] == ["blue"] * 5


def respect(way: str, rows: int) -> Respect:
    """One of three values; a classifier has answers of so many pictures."""
    weights = {"span": torch.eye(4), "weights": torch.ones(1, 4), "classifier": torch.ones(3, 7)}
    answers = F.one_hot(torch.arange(rows) % 3, 3).float() if rows else torch.empty(0, 0)
    hashes = tuple(f"hash {row}" for row in range(rows))
    texts = F.normalize(torch.eye(4)[:3] + 0.1, dim=1)
    values, wordings = ("red", "green", "blue"), ("the colour", "its colour")
    return Respect(f"by {way}", wordings, values, "Alike.", RespectMap(way, weights[way]), texts, answers, hashes)


@pytest.mark.parametrize(("way", "rows"), [("span", 0), ("weights", 0), ("classifier", 5)])
def test_respects_are_read_as_they_were_written(tmp_path: Path, way: str, rows: int) -> None:
    written = respect(way, rows)
    write_respects(tmp_path, [written], {"shop": "no gain"}, "abc")
    (read,) = read_respects(tmp_path, "abc").values()
    vectors, hashes = F.normalize(torch.rand(6, 4), dim=1), [f"hash {row}" for row in range(6)]
    torch.testing.assert_close(read.of_vectors(vectors, hashes), written.of_vectors(vectors, hashes))
    norms = read.of_vectors(vectors, hashes).norm(dim=1).round(decimals=4).tolist()
    assert norms == [1, 1, 1, 1, 1, 0 if rows else 1], "a picture that a classifier has not seen is like no other"
    assert read.of_words(written.texts[1])[1] == ("green" if rows else "")
    with pytest.raises(DeixisError, match="of another model"):
        read_respects(tmp_path, "another")
    (tmp_path / "respects.safetensors").write_bytes(b"cut")
    with pytest.raises(DeixisError, match="can't be read"):
        read_respects(tmp_path, "abc")
    assert read_respects(tmp_path / "elsewhere", "abc") == {}


def test_words_mean_a_respect_by_its_name_or_nearness_and_are_refused_with_the_list() -> None:
    known = {"colour": respect("span", 0), "kind": respect("weights", 0)}

    def reader(texts: list[str]) -> torch.Tensor:
        return torch.stack([torch.tensor([1.0, 0.0] if text in ("kind", "sort") else [0.0, -1.0]) for text in texts])

    assert nearest_respect(" The Colour", known, reader) is known["colour"]
    assert nearest_respect("sort", known, reader) is known["kind"]
    with pytest.raises(DeixisError, match="no respect 'size'") as error:
        nearest_respect("size", {"kind": known["kind"]}, reader)
    assert "It knows: kind." in error.value.cure


def test_columns_that_are_no_respect_are_refused_before_anything_is_written(table: Path, tmp_path: Path) -> None:
    wrong = {"number": "72 different values", "stuff": "one value 'tin'", "colr": "no column 'colr'"}
    for name, message in wrong.items():
        settings = AdaptSettings(model="tiny", about=(name,))
        with pytest.raises(DeixisError, match=message):
            adapt_or_index(str(table), str(tmp_path / "run"), settings, Reading(), overwrite=False, quiet=True)
    assert not [*tmp_path.iterdir()]


def test_a_column_that_was_read_as_labels_is_a_column_again_where_it_is_a_respect() -> None:
    samples = tuple(Sample(str(n), None, label=label, extra={"shop": "north"}) for n, label in enumerate("ab"))
    source = Source("table", Path(), "labels", "csv", samples)
    found = with_label_column(source, ("category", "shop"))
    assert [sample.extra for sample in found.samples] == [{"shop": "north", "category": label} for label in "ab"]
    assert with_label_column(source, ("shop",)) == source
    assert with_label_column(source, ("brand",)) == source, "no such column was read"


@pytest.mark.slow
def test_a_run_with_respects_is_replaced_where_that_is_asked_for(run: Path, table: Path) -> None:
    settings = AdaptSettings(model="tiny", about=("colour",), splits=3)
    with pytest.raises(DeixisError, match=r"holds another run.*--overwrite"):
        adapt_or_index(str(table), str(run), settings, Reading(), overwrite=False, quiet=True)
    adapt_or_index(str(table), str(run), settings, Reading(), overwrite=True, quiet=True)
    assert list(json.loads((run / "result.json").read_text(encoding="utf-8"))["respects"]) == ["colour"]
