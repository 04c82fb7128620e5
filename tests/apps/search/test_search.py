"""Searching a collection or a run: words, pictures, both, what is left out; what is damaged or of another model is
refused by name."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deixis as library
from deixis import zoo
from deixis.apps.index.index import index
from deixis.apps.search.query import Query
from deixis.apps.search.search import near, search
from deixis.apps.search.searcher import Searcher
from deixis.engine.evaluation.calibration import Calibration
from deixis.errors import DeixisError
from deixis.indexing.approximate import Approximate
from deixis.indexing.compose import compose
from deixis.ops.calibration import Logistic
from deixis.zoo import scratch
from tests.commands import deixis
from tests.pictures import COLOURS, picture

# finding


def test_a_picture_finds_itself_first_when_it_comes_as_pixels(place: Path) -> None:
    for name in ("07.png", "large.jpg"):
        with Image.open(place / "pictures" / name) as opened:
            found = search(place / "plain", images=[opened.convert("RGB")])[0]
        assert found.item["id"] == name
        assert found.score == pytest.approx(1, abs=1e-3)


def test_a_picture_that_is_asked_with_is_left_out(place: Path) -> None:
    file = place / "pictures" / "07.png"
    everything = {f"{i:02}.png" for i in range(30)} | {"large.jpg"}
    for images in ([file], [str(file)], [file.read_bytes()]):
        found = search(place / "plain", images=images, k=31)
        assert {each.item["id"] for each in found} == everything - {"07.png"}
        assert found.total == 30
    assert len(search(place / "plain", "red", images=[file], k=30)) == 30


def test_words_find_pictures_best_first(place: Path) -> None:
    found = search(place / "plain", "a red sheet", k=4)
    scores = [each.score for each in found]
    assert len(found) == 4
    assert scores == sorted(scores, reverse=True)
    encoder = zoo.load("tiny")
    images = encoder.encode_image([each.item["path"] for each in found]).numpy()
    np.testing.assert_allclose(images @ encoder.encode_text("a red sheet").numpy()[0], scores, atol=2e-6)


def test_more_answers_than_pictures_gives_all(place: Path) -> None:
    assert len(search(place / "plain", "anything", k=1000)) == 31


def test_captions_and_labels_travel_with_the_pictures(place: Path, adapted: Path) -> None:
    [found] = search(place / "run", "qqqqqq", k=1)
    item = found.item
    path = Path(str(item["path"]))
    assert item["captions"] == [path.with_suffix(".txt").read_text().strip()]


# what is printed


def test_each_answer_is_one_line_with_the_shortest_path(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    code, out, _ = deixis("search", "plain", "pictures/07.png", "--k", "3")
    head, first, *rest = out.splitlines()
    assert (code, head, first) == (0, "similarity  picture", "     0.999  pictures/01.png")
    assert len(rest) == 2
    monkeypatch.chdir("/")
    assert str(place / "pictures" / "01.png")[1:] in deixis("search", place / "plain", place / "pictures/07.png").out


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
    assert "Request at least 1" in deixis("search", place / "plain", "words", "--k", "0").err


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


# asking with more than one thing


def ids(found: object) -> list[str]:
    return [each.item["id"] for each in found]  # type: ignore[attr-defined]


def test_words_and_a_picture_meet_where_the_slider_stands(place: Path) -> None:
    encoder, file = zoo.load("tiny"), place / "pictures" / "07.png"
    words, seen = encoder.encode_text("a red sheet").numpy()[0], encoder.encode_image(file).numpy()[0]
    for mix in (0.0, 0.25, 1.0):
        found = search(place / "plain", "a red sheet", images=[file], mix=mix, k=31)
        expected = encoder.encode_image([each.item["path"] for each in found]).numpy() @ compose(words, seen, mix=mix)
        np.testing.assert_allclose([each.score for each in found], expected, atol=3e-6)
    assert ids(search(place / "plain", "a red sheet", images=[file], mix=0.0)) == ids(
        search(place / "plain", "a red sheet")
    )


def test_what_is_left_out_falls_behind(place: Path) -> None:
    asked, unwanted = place / "pictures" / "08.png", place / "pictures" / "20.png"
    places = []
    for weight in (0.0, 0.5, 1.0):
        found = search(place / "plain", asked, k=31, minus=[unwanted], minus_weight=weight)
        places.append(ids(found).index("20.png"))
    assert places[0] == 0  # the nearest of all but the picture itself
    assert places[0] < places[1] < places[2]


def test_several_texts_share_as_they_are_weighed(place: Path) -> None:
    one = search(place / "plain", "a red sheet", k=31)
    both = search(place / "plain", ["a red sheet", "two boats"], k=31, weights=(1.0, 0.0))
    assert ids(one) == ids(both)
    with pytest.raises(DeixisError, match="3 weights were given for 2 texts and 0 pictures"):
        search(place / "plain", ["a", "b"], weights=(1.0, 1.0, 1.0))


def test_only_something_left_out_is_no_query(place: Path) -> None:
    assert "The query only has terms to subtract" in deixis("search", place / "plain", "--minus", "a").err
    assert "The query is empty" in deixis("search", place / "plain").err


def test_conditions_hold_for_every_answer(place: Path) -> None:
    found = search(place / "plain", "a red sheet", k=31, where=("id~1", "id!=10.png"))
    assert {each.item["id"] for each in found} == {f"{i:02}.png" for i in (1, *range(11, 20), 21)}
    assert found.total == len(found)
    nothing = search(place / "plain", "a red sheet", where=("id=none.png",))
    assert (nothing.nothing, len(nothing), nothing.sentence) == (True, 0, "Nothing fits the conditions.")


@pytest.mark.slow
def test_a_condition_makes_no_answer_surer(place: Path, adapted: Path) -> None:
    searcher = Searcher(place / "run")
    calibration = Calibration(Logistic((4.0, 0.5), -2.0), None, Logistic((1.0,), 0.0), 30, 30, 0.4, 0.0)
    searcher.__dict__["calibration"] = calibration
    chances = {each.row: each.relevance for each in searcher.search("a red sheet", 100)}
    word = str(searcher.search("a red sheet", 1)[0].item["captions"][0]).split()[-1]
    found = searcher.search("a red sheet", 100, where=(f"captions~{word}",))
    assert 0 < len(found) < len(chances)
    assert {each.row: each.relevance for each in found} == {each.row: chances[each.row] for each in found}


def test_a_twin_is_listed_as_nearly_the_same(tmp_path: Path) -> None:
    rng = random.Random(1)
    for i, colour in enumerate(COLOURS.values()):
        picture(tmp_path / "pictures" / f"{i}.png", colour, rng)
    shutil.copy(tmp_path / "pictures" / "3.png", tmp_path / "pictures" / "twin.png")
    index(str(tmp_path / "pictures"), tmp_path / "index", "tiny", quiet=True)
    [(score, first, second), *_] = near(tmp_path / "index", 0.999)
    assert ({first["id"], second["id"]}, pytest.approx(score, abs=1e-5)) == ({"3.png", "twin.png"}, 1.0)
    assert "twin.png" in deixis("search", tmp_path / "index", "--near", "0.999").out
    assert "takes no query" in deixis("search", tmp_path / "index", "words", "--near", "0.9").err


def test_one_object_of_json_for_scripts(place: Path) -> None:
    code, out, _ = deixis("search", place / "plain", "a red sheet", "--k", "3", "--json")
    answer = json.loads(out)
    assert (code, len(answer["found"]), answer["nothing"], answer["total"]) == (0, 3, False, 31)
    assert set(answer["found"][0]) == {"score", "item", "row", "relevance"}


def test_a_least_relevance_needs_one_that_was_measured(place: Path) -> None:
    with pytest.raises(DeixisError, match="was made without measuring any"):
        search(place / "plain", "words", min_relevance=0.5)
    with pytest.raises(DeixisError, match="from 0 to 1"):
        search(place / "plain", "words", min_relevance=50.0)


@pytest.mark.slow
def test_a_graph_answers_as_the_exact_search_does_until_the_index_changes(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = tmp_path / "index"
    done = deixis("index", place / "pictures", "--model", "tiny", "--out", copied, "--approximate")
    assert (done.code, "candidates" in done.out) == (0, True), done.err
    searcher = Searcher(copied)
    asked = []
    search_graph = Approximate.search
    monkeypatch.setattr(Approximate, "search", lambda *a, **o: asked.append(a) or search_graph(*a, **o))
    assert ids(searcher.search("a red sheet", 5)) == ids(search(place / "plain", "a red sheet", k=5))
    assert deixis("index", "07.png", "--out", copied, "--remove").code == 0
    assert searcher.refresh()
    assert (len(asked), searcher.approximate) == (1, None)
    assert "07.png" not in ids(searcher.search("a red sheet", 31))


# a searcher that stays open


def test_words_alone_load_the_text_side_alone(place: Path) -> None:
    searcher = Searcher(place / "plain")
    found = searcher.search("a red sheet", 5)
    assert "encoder" not in searcher.__dict__
    assert searcher.search(Query(images=(place / "pictures" / "07.png",)), 1)[0].item["id"] == "01.png"
    assert searcher.encoder is searcher.__dict__["encoder"]
    assert [each.score for each in searcher.search("a red sheet", 5)] == [each.score for each in found]


def test_what_is_like_a_picture_leaves_that_out(place: Path) -> None:
    searcher = Searcher(place / "plain")
    row = searcher.index.row_of("07.png")
    like = searcher.like(row, 5)
    assert row not in [each.row for each in like]
    assert ids(like) == ids(search(place / "plain", place / "pictures" / "07.png", k=5))


@pytest.mark.slow
def test_a_search_by_words_imports_no_image_network(place: Path) -> None:
    code = (
        "import sys\nfrom deixis.apps.search.search import search\n"
        f"assert len(search({str(place / 'whole')!r}, 'a red sheet')) == 10\n"
        "print(sorted(name for name in ('timm', 'torchvision', 'scipy', 'sklearn') if name in sys.modules))"
    )
    encoder = scratch.build(["a red sheet", "two boats"], "tiny", image="vit")
    zoo.save(encoder, place / "model-of-words")
    index(str(place / "pictures"), place / "whole", str(place / "model-of-words"), quiet=True)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_verb_of_the_package_is_the_same_search(place: Path) -> None:
    assert ids(library.search(place / "plain", "a red sheet")) == ids(search(place / "plain", "a red sheet"))


def _measured(threshold: float) -> Calibration:
    return Calibration(Logistic((0.0, 2.5), -2.5), None, Logistic((1.0,), 0.0), 31, 31, 0.0, threshold=threshold)


def test_results_that_hardly_match_are_folded_away_in_the_terminal(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Searcher, "calibration", _measured(0.0))
    found = search(place / "plain", "a red sheet", k=31)
    assert 0 < found.likely < 31
    assert found[found.likely - 1].relevance >= 0.05 > found[found.likely].relevance
    lines = deixis("search", place / "plain", "a red sheet", "--k", 31).out.splitlines()
    assert len(lines) == 2 + found.likely + 1  # a sentence, a head and what is said of the rest
    assert lines[-1] == f"{31 - found.likely} more that hardly match; --all lists them."
    everything = deixis("search", place / "plain", "a red sheet", "--k", 31, "--all").out.splitlines()
    assert len(everything) == 2 + 31
    told = json.loads(deixis("search", place / "plain", "a red sheet", "--k", 31, "--json").out)
    assert len(told["found"]) == 31


def test_nothing_is_likely_is_said_only_by_a_model_that_can_tell(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    low = Calibration(Logistic((0.0, 0.1), -9.0), None, Logistic((1.0,), 9.0), 31, 31, 0.0, threshold=1e-9)
    monkeypatch.setattr(Searcher, "calibration", low)
    assert "Nothing here is likely to match" in deixis("search", place / "plain", "xqzzk wvvb", "--k", 4).out
    monkeypatch.setattr(Searcher, "calibration", _measured(0.0))
    assert not search(place / "plain", "xqzzk wvvb").nothing
    never = Calibration(low.evidence, None, low.presence, 31, 31, 0.0, threshold=0.0)
    monkeypatch.setattr(Searcher, "calibration", never)
    found = search(place / "plain", "xqzzk wvvb", k=4)
    assert (found.nothing, found.likely) == (False, 4)  # nothing to fold where all are as unlikely
