"""Conditions on what items say: numbers as numbers, words as words, lists entry by entry."""

from __future__ import annotations

from pathlib import Path

import pytest

from deixis.errors import DeixisError
from deixis.indexing.changes import build, remove
from deixis.indexing.index import Index
from tests.indexes import random

ITEMS = [
    {"id": "a", "label": "bird", "year": 2019, "captions": ["a Red bird", "on a twig"], "sharp": True},
    {"id": "b", "label": "cat", "year": "2020", "captions": ["a cat"], "sharp": False},
    {"id": "c", "label": None, "year": 900, "captions": []},
    {"id": "d", "label": "Bird", "year": "unknown", "captions": ["incredible"], "taken": "2021-07-01"},
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    place = tmp_path_factory.mktemp("filters") / "index"
    return build(place, random(4, 3), ITEMS, model="m", fingerprint="f")


def met(index: Index, *conditions: str) -> str:
    return "".join(str(index.item(row)["id"]) for row in index.where(conditions).nonzero()[0].tolist())


@pytest.mark.parametrize(
    ("condition", "rows"),
    [
        ("label=bird", "ad"),
        ("label==bird", "ad"),
        (" label = bird ", "ad"),
        ("label!=bird", "bc"),
        ("label=", "c"),
        ("year>=2019", "ab"),
        ("year>900", "ab"),
        ("year<1000", "c"),
        ("year=2019.0", "a"),
        ("year=2020", "b"),
        ("year<=2019", "ac"),
        ("year>many", "d"),
        ("captions~red", "ad"),
        ("captions=A CAT", "b"),
        ("captions!=a cat", "acd"),
        ("sharp=true", "a"),
        ("sharp!=true", "bcd"),
        ("taken>2021-06", "d"),
        ("id~", "abcd"),
    ],
)
def test_a_condition_picks_rows(index: Index, condition: str, rows: str) -> None:
    assert met(index, condition) == rows


def test_several_conditions_must_all_be_met(index: Index) -> None:
    assert met(index, "label=bird", "year>2000") == "a"
    assert met(index) == "abcd"


def test_equal_and_unequal_share_all_rows(index: Index) -> None:
    for name in ("label", "year", "captions", "sharp", "taken"):
        assert (index.where([f"{name}=2020"]) ^ index.where([f"{name}!=2020"])).all()


def test_an_unknown_column_is_named_with_the_near_ones(index: Index) -> None:
    with pytest.raises(DeixisError, match=r"No item has a column 'lable'\. Did you mean label\?"):
        index.where(["year>2000", "lable=bird"])
    with pytest.raises(DeixisError, match=r"'zzz'\. Did you mean captions, id, label"):
        index.where(["zzz=1"])


@pytest.mark.parametrize("condition", ["", "label", "=bird", "label <> bird", "~", "label=>3", "label < = 3"])
def test_a_condition_that_can_not_be_read_is_told_with_the_form(index: Index, condition: str) -> None:
    with pytest.raises(DeixisError, match=r"can't be read\. Write it like label=bird"):
        index.where([condition])


def test_a_removed_row_meets_nothing_and_a_search_takes_the_mask(tmp_path: Path) -> None:
    vectors = random(4, 3)
    build(tmp_path / "index", vectors, ITEMS, model="m", fingerprint="f")
    index = remove(tmp_path / "index", ["a"])
    assert met(index, "label=bird") == "d"
    assert met(index) == "bcd"
    where = index.where(["label=bird"])
    assert [index.item(row)["id"] for row in index.search(vectors[1], k=4, where=where).rows[0].tolist()] == ["d"]


def test_every_item_has_a_folder_unless_the_data_named_one_so(tmp_path: Path) -> None:
    items = [{"id": "a/b/1.png"}, {"id": "2.png"}, {"id": "c/3.png", "folder": "mine"}]
    index = build(tmp_path / "index", random(3, 4), items, model="m", fingerprint="f")
    assert index.where(["folder=a/b"]).tolist() == [True, False, False]
    assert index.where(["folder="]).tolist() == [False, True, False]
    assert index.where(["folder~mi"]).tolist() == [False, False, True]
