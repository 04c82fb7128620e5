"""The class of each pixel, the words that stand in pictures, and the box of a word, over the server's routes."""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from deixis.apps.search.searcher import Searcher
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError
from tests.apps.serve.reading import ALIKE, quarter_red, reading_server
from tests.apps.serve.serving import SMALL, Running, problem, running, sent
from tests.capable import COLOURS


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with reading_server(tmp_path_factory.mktemp("read")) as started:
        yield started


def names(found: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in found]


def test_pixels_are_coloured_by_class_with_the_share_of_each(read: Running) -> None:
    answer = read.post("/segment", {"image": sent(quarter_red()), "classes": [" red ", "blue"]}).json()
    assert [each["name"] for each in answer["classes"]] == ["red", "blue"]
    assert [each["share"] for each in answer["classes"]] == pytest.approx([0.25, 0.0], abs=0.05)
    layer = Image.open(io.BytesIO(base64.b64decode(answer["layer"].partition(",")[2]))).convert("RGBA")
    assert layer.size == (40, 40)
    red = tuple(bytes.fromhex(answer["classes"][0]["colour"][1:]))
    assert layer.getpixel((3, 20))[:3] == red  # type: ignore[index]
    assert layer.getpixel((35, 30))[3] == 0  # type: ignore[index]
    assert read.get("/run").json()["can_segment"]


def test_classes_that_are_none_are_refused_and_so_is_a_server_that_can_not_segment(
    read: Running, server: Running
) -> None:
    assert "comes twice" in problem(read.post("/segment", {"row": 0, "classes": ["red", "Red"]}), 422)
    assert "has no words" in problem(read.post("/segment", {"row": 0, "classes": ["?"]}), 422)
    assert problem(read.post("/segment", {"row": 0, "classes": list(COLOURS) * 6}), 422)
    assert "deixis data get detector" in problem(server.post("/segment", {"row": 0, "classes": ["red"]}), 501)
    assert not server.get("/run").json()["can_segment"]


def test_pictures_are_found_by_the_words_in_them_alone_and_beside_a_query(read: Running, server: Running) -> None:
    assert read.get("/run").json()["has_words"]
    exact = {"0.png", "3.png"}
    alone = read.post("/search", {"says": "parking"}).json()
    assert (set(names(alone["found"])[:2]), names(alone["found"])[2:], alone["total"]) == (exact, ["1.png"], 3)
    assert len(read.found(says="parking", k=1, offset=2)) == 1
    both = read.post("/search", {"texts": ["red"], "says": "parking", "where": ["says!=no parking"]}).json()
    order = names(read.found(texts=["red"]))
    assert names(both["found"]) == [name for name in order if name in ("0.png", "1.png")]
    assert read.post("/search", {"texts": ["red"], "says": "zebra"}).json()["total"] == 0
    assert "no letters" in problem(read.post("/search", {"says": "?!"}), 422)
    assert "--read" in problem(server.post("/search", {"says": "parking"}), 422)
    assert not server.get("/run").json()["has_words"]


def test_the_first_results_come_in_the_order_of_the_pairs_and_what_it_costs_is_told(read: Running) -> None:
    run = read.get("/run").json()
    assert (run["can_rerank"], run["rerank_count"], run["can_align"]) == (True, 50, True)
    assert run["rerank_seconds"] > 0
    plain = read.post("/search", {"texts": ["red", "sheet"]}).json()
    again = read.post("/search", {"texts": ["red", "sheet"], "rerank": True}).json()
    assert plain["reranked"] is None
    assert again["reranked"]["pairs"] == 5
    places = [Path(each["place"]) for each in plain["found"]]
    scores = RegionPairs(read.desk.pairs._rerank.method).match(places, ["red sheet"] * 5)  # type: ignore[union-attr]
    wanted = [names(plain["found"])[place] for place in torch.argsort(-scores, stable=True).tolist()]
    assert names(again["found"]) == wanted
    second = read.post("/search", {"texts": ["red", "sheet"], "rerank": True, "k": 2, "offset": 2}).json()
    assert names(second["found"]) == wanted[2:4]
    assert {each["score"] for each in again["found"]} == {each["score"] for each in plain["found"]}


def test_what_can_not_be_scored_again_is_refused(read: Running, server: Running) -> None:
    for more in ({}, {"texts": ["red"], "like": 0}, {"texts": ["red"], "minus_texts": ["blue"]}):
        assert "not words alone" in problem(read.post("/search", {**more, "rerank": True}), 422)
    assert "sorted" in problem(read.post("/search", {"texts": ["red"], "sort": "says", "rerank": True}), 422)
    assert "--rerank RUN" in problem(server.post("/search", {"texts": ["red"], "rerank": True}), 422)
    assert "--rerank RUN" in problem(server.post("/align", {"row": 0, "text": "red"}), 422)
    settings = dataclasses.replace(SMALL, rerank=str(read.desk.searcher.run))
    with pytest.raises(DeixisError, match="is no run of a method"), running(read.desk.searcher, settings):
        pass


def test_scoring_again_ends_when_its_time_is_over(read: Running) -> None:
    assert read.desk.pairs is not None
    answer = Searcher(read.desk.searcher.run).search("red")
    with pytest.raises(DeixisError, match="It takes too long"):
        read.desk.pairs.rerank(answer, "red", 0.0)


def test_each_word_has_a_box_inside_the_picture(read: Running) -> None:
    words = read.post("/align", {"row": 1, "text": "a red"}).json()["words"]
    assert [each["word"] for each in words] == ["a", "red"]
    for each in words:
        x0, y0, x1, y1 = each["box"]
        assert 0 <= x0 < x1 <= 1
        assert 0 <= y0 < y1 <= 1
    assert problem(read.post("/align", {"row": 99, "text": "red"}), 404)
    assert "empty" in problem(read.post("/align", {"row": 1, "text": " "}), 422)


def test_pictures_are_alike_in_a_respect_that_the_run_has_learned(read: Running, server: Running) -> None:
    assert read.get("/run").json()["respects"] == ["colour"]
    index = read.desk.index()
    half = torch.from_numpy(np.array(index.vectors, np.float32))[:, : index.vectors.shape[1] // 2]
    cosines = torch.nn.functional.cosine_similarity(half, half[2:3])
    wanted = [row for row in torch.argsort(-cosines, stable=True).tolist() if row != 2]
    answer = read.post("/search", {"like": 2, "about": "colour"}).json()
    assert [each["row"] for each in answer["found"]] == wanted
    assert [each["score"] for each in answer["found"]] == pytest.approx(cosines[wanted].tolist(), abs=1e-5)
    assert (answer["sentence"], answer["total"], answer["like"]["row"]) == (ALIKE, 4, 2)
    second = read.found(like=2, about="colour", k=2, offset=1, where=["says=no parking"])
    assert [each["row"] for each in second] == []
    assert [each["row"] for each in read.found(like=2, about="colour", k=2, offset=1)] == wanted[1:3]
    assert len(read.found()) == 5  # what was left out there is there all the same


def test_a_respect_that_was_not_learned_or_more_than_a_picture_is_refused(read: Running, server: Running) -> None:
    assert "It has: colour." in problem(read.post("/search", {"like": 0, "about": "kind"}), 422)
    assert "deixis adapt DATA --about" in problem(server.post("/search", {"like": 0, "about": "colour"}), 422)
    for more in ({"like": None}, {"texts": ["red"]}, {"says": "parking"}, {"sort": "says"}):
        assert "alone" in problem(read.post("/search", {"like": 0, "about": "colour", **more}), 422)
    assert problem(read.post("/search", {"like": 99, "about": "colour"}), 404)
    assert server.get("/run").json()["respects"] == []
