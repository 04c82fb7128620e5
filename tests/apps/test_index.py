"""Searching a collection as it is, and a run; what is damaged or belongs to another model is refused by name."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis import zoo
from deixis.apps.adapt import adapt
from deixis.apps.index import index, search
from deixis.apps.options import Settings
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from tests.commands import deixis, own_cache
from tests.pictures import COLOURS, captioned, picture, spoil


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`pictures` without any words, and `plain`, an index of them."""
    folder = tmp_path_factory.mktemp("index")
    with own_cache(folder / "cache"):
        rng = random.Random(0)
        for i in range(30):
            picture(folder / "pictures" / f"{i:02}.png", list(COLOURS.values())[i % 6], rng)
        with Image.new("RGB", (640, 480), (200, 120, 10)) as image:
            image.paste((0, 0, 90), (50, 60, 300, 400))
            image.save(folder / "pictures" / "large.jpg", quality=90)
        index(str(folder / "pictures"), folder / "plain", "tiny", quiet=True)
        yield folder


@pytest.fixture(scope="module")
def adapted(place: Path) -> Path:
    """An index of the same pictures by an adapted model."""
    settings = Settings(model="tiny", method="ridge", splits=2, controls=False)
    done = adapt(str(captioned(place / "captioned")), place / "run", settings, quiet=True)
    assert done.result["kept"] == "adapted"
    index(str(place / "pictures"), place / "adapted", str(place / "run"), quiet=True)
    return place / "adapted"


@pytest.fixture
def copy(place: Path, tmp_path: Path) -> Path:
    """A copy of the index, to be damaged."""
    return Path(shutil.copytree(place / "plain", tmp_path / "index"))


# finding


def test_a_picture_finds_itself_first(place: Path) -> None:
    for name in ("07.png", "large.jpg"):  # a large one is decoded at a reduced scale both times
        [(score, item), *_] = search(place / "plain", place / "pictures" / name)
        assert item["id"] == name
        assert score == pytest.approx(1, abs=1e-5)


def test_words_find_pictures_best_first(place: Path) -> None:
    found = search(place / "plain", "a red sheet", k=4)
    scores = [score for score, _ in found]
    assert len(found) == 4
    assert scores == sorted(scores, reverse=True)
    encoder = zoo.load("tiny")
    images = encoder.encode_image([item["path"] for _, item in found]).numpy()
    np.testing.assert_allclose(images @ encoder.encode_text("a red sheet").numpy()[0], scores, atol=2e-6)


def test_more_answers_than_pictures_gives_all(place: Path) -> None:
    assert len(search(place / "plain", "anything", k=1000)) == 31


def test_an_index_by_an_adapted_model_holds_what_that_model_says(adapted: Path) -> None:
    encoder, opened = zoo.load(adapted), Index.open(adapted / "index")
    assert encoder.image_adapter is not None
    paths = [opened.item(row)["path"] for row in range(len(opened))]
    np.testing.assert_allclose(encoder.encode_image(paths).numpy(), opened.vectors, atol=2e-6)
    [(score, item), *_] = search(adapted, place_of := paths[3])
    assert item["path"] == place_of
    assert score == pytest.approx(1, abs=1e-5)


def test_captions_and_labels_travel_with_the_pictures(place: Path, adapted: Path) -> None:
    [(_, item)] = search(place / "run", "qqqqqq", k=1)
    path = Path(str(item["path"]))
    assert item["captions"] == [path.with_suffix(".txt").read_text().strip()]


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 6)
    spoil(data)
    code, out, _ = deixis("index", data, "--model", "tiny", "--out", tmp_path / "index")
    assert code == 0
    assert f"6 images indexed in {tmp_path / 'index'}; 4 skipped." in out


# what is printed


def test_each_answer_is_one_line_with_the_shortest_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    code, out, _ = deixis("search", "plain", "pictures/07.png", "--k", "3")
    head, first, *rest = out.splitlines()
    assert (code, head, first) == (0, "similarity  picture", "     1.000  pictures/07.png")
    assert len(rest) == 2
    monkeypatch.chdir("/")
    assert str(place / "pictures" / "07.png")[1:] in deixis("search", place / "plain", place / "pictures/07.png").out


def test_long_paths_and_odd_names_are_printed_as_they_are(tmp_path: Path) -> None:
    name = "[bold] :dog: " + "long " * 20 + ".png"
    picture(tmp_path / "pictures" / name, (1, 2, 3), random.Random(0))
    index(str(tmp_path / "pictures"), tmp_path / "index", "tiny", quiet=True)
    assert name in deixis("search", tmp_path / "index", "x").out


def test_from_python_search_is_silent(place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    search(place / "plain", "words")
    assert capfd.readouterr() == ("", "")


# what is refused


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "The query is empty."),
        (" \n", "The query is empty."),
        ("gone.png", "There is no picture gone.png."),
        ("holiday.JPG", "There is no picture"),
    ],
)
def test_a_query_that_means_nothing_is_refused(query: str, said: str, place: Path) -> None:
    code, out, err = deixis("search", place / "plain", query)
    assert (code, out) == (2, "")
    assert said in err


@pytest.mark.parametrize("query", ["a\0b", "x" * 10_000, "röd 🦊 " * 50, "\udcff", "a.b", ".", "/"])
def test_odd_words_are_words(query: str, place: Path) -> None:
    assert len(search(place / "plain", query, k=2)) == 2


def test_a_text_file_is_no_picture_to_search_with(place: Path) -> None:
    (place / "letter").write_text("Dear Sir")
    with pytest.raises(DeixisError, match="letter is not an image: it is text"):
        search(place / "plain", place / "letter")


def test_fewer_than_one_answer_is_refused(place: Path) -> None:
    assert "Ask for at least 1" in deixis("search", place / "plain", "words", "--k", "0").err


def test_the_index_of_another_model_is_refused(place: Path, adapted: Path, copy: Path) -> None:
    shutil.rmtree(copy / "model")
    shutil.copytree(adapted / "model", copy / "model")
    with pytest.raises(DeixisError, match=r"was made by the model 'tiny'.*can't be compared"):
        search(copy, "words")


def test_a_folder_that_holds_no_index_is_told_what_makes_one(place: Path, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"There is no folder .*nowhere.*`deixis index DATA`"):
        search(tmp_path / "nowhere", "words")
    with pytest.raises(DeixisError, match=r"is no index.*deixis index DATA"):
        search(place / "pictures", "words")
    with pytest.raises(DeixisError, match="holds no model that could read the query"):
        search(place / "plain" / "index", "words")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [Path.unlink, cut, emptied], ids=["gone", "cut", "empty"])
@pytest.mark.parametrize("name", ["index/vectors.npy", "index/items.jsonl", "index/manifest.json", "model/config.json"])
def test_a_damaged_file_is_named(name: str, damage: Callable[[Path], None], copy: Path) -> None:
    damage(copy / name)
    code, out, err = deixis("search", copy, "words")
    assert (code, out) == (2, "")
    assert str(copy) in err
    assert Path(name).name in err


def test_a_model_folder_of_another_version_is_told_to_upgrade(copy: Path) -> None:
    config = json.loads((copy / "model" / "config.json").read_text())
    (copy / "model" / "config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(DeixisError, match=r"has format 99.*Upgrade deixis"):
        search(copy, "words")


def test_an_index_is_not_written_over_something_else(place: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    for flags in ((), ("--overwrite",)):
        code, _, err = deixis("index", place / "pictures", "--model", "tiny", "--out", tmp_path / "mine", *flags)
        assert code == 2
        assert "thesis.tex" in err
    assert os.listdir(tmp_path / "mine") == ["thesis.tex"]


def test_an_index_is_replaced_where_that_is_asked_for(place: Path, copy: Path) -> None:
    one = place / "one"
    picture(one / "single.png", (0, 0, 0), random.Random(0))
    assert "holds another run" in deixis("index", one, "--model", "tiny", "--out", copy).err
    assert deixis("index", one, "--model", "tiny", "--out", copy, "--overwrite").code == 0
    assert len(Index.open(copy / "index")) == 1
    assert sorted(os.listdir(copy.parent)) == ["index"]
