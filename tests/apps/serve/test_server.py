"""What a client gets from a server: each address, over a real socket."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deixis import zoo
from deixis.apps.search.query import Query
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.routes.export_routes import _table
from tests.apps.serve.serving import SMALL, Running, encoded, problem, running, sent
from tests.capable import Grounder

# searching


def test_words_find_what_the_searcher_finds(server: Running, collection: Path) -> None:
    answer = server.post("/search", {"texts": ["a red sheet"], "k": 4}).json()
    there = Searcher(collection / "run").search("a red sheet", 4)
    assert [each["row"] for each in answer["found"]] == [each.row for each in there]
    assert [each["score"] for each in answer["found"]] == pytest.approx([each.score for each in there], abs=1e-6)
    assert (answer["total"], answer["nothing"]) == (24, False)
    first = answer["found"][0]
    assert first["place"].endswith(first["name"])
    assert first["label"] in first["place"]


def test_a_picture_of_the_index_is_known_by_its_bytes_and_left_out(server: Running, collection: Path) -> None:
    path = collection / "pictures" / "ooo ooooo oooo" / "07.png"
    data = path.read_bytes()
    with Image.open(path) as image:
        copy = sent(image, "BMP")
    digests = [hashlib.sha256(data).hexdigest()]
    for body in (
        {"images": [encoded(data)]},
        {"images": [f"data:image/png;base64,{encoded(data)}"]},
        {"images": [copy], "digests": digests},
    ):
        answer = server.post("/search", {**body, "k": 30}).json()
        assert [each["name"] for each in answer["known"]] == ["07.png"]
        assert "07.png" not in {each["name"] for each in answer["found"]}
        assert answer["total"] == len(answer["found"]) == 23
    stranger = server.post("/search", {"images": [copy], "k": 1}).json()
    assert stranger["known"] == [None]
    assert stranger["found"][0]["name"] == "07.png"
    assert "digests" in problem(server.post("/search", {"images": [copy], "digests": digests * 2}), 422)


def test_results_carry_columns_and_are_sorted_by_them(server: Running) -> None:
    answer = server.post("/search", {"columns": ["folder", "label", "hash", "none"], "sort": "folder", "k": 30}).json()
    folders = [each["columns"]["folder"] for each in answer["found"]]
    assert folders == sorted(folders)
    assert all(set(each["columns"]) == {"folder", "label"} for each in answer["found"])
    down = server.post("/search", {"texts": ["red"], "sort": "label", "descending": True, "k": 30}).json()
    labels = [each["label"] for each in down["found"]]
    assert labels == sorted(labels, reverse=True)
    assert "colour" in problem(server.post("/search", {"sort": "colour"}), 422)
    only = server.found(where=[f"folder={folders[0]}"], k=30)
    assert {each["label"] for each in only} == {folders[0]}


def test_what_is_asked_for_by_its_id_is_the_same_as_by_its_row(server: Running) -> None:
    item = server.get("/items/5").json()
    assert server.get("/items", params={"id": item["id"]}).json() == item
    by_row, by_id = (server.post("/search", {"like": each, "k": 24}).json() for each in (5, item["id"]))
    assert by_row["found"] == by_id["found"]
    assert by_id["like"]["row"] == 5
    assert problem(server.post("/search", {"like": "no/such.png"}), 404)
    assert problem(server.get("/items", params={"id": "../../etc/passwd"}), 404)


@pytest.mark.slow
def test_words_and_pictures_are_mixed_and_taken_away_as_the_searcher_does_it(server: Running, collection: Path) -> None:
    path = next((collection / "pictures").rglob("05.png"))
    query = Query(("red", "sheet"), (path,), ("blue",), (path,), mix=0.2)
    body = {
        "texts": ["red", "sheet"],
        "images": [encoded(path.read_bytes())],
        "minus_texts": ["blue"],
        "minus_images": [encoded(path.read_bytes())],
        "mix": 0.2,
    }
    there = Searcher(collection / "run").search(query, 20)
    assert [each["row"] for each in server.found(**body)] == [each.row for each in there]


def test_what_is_like_something_leaves_that_out(server: Running) -> None:
    rows = [each["row"] for each in server.found(like=5, k=24)]
    assert len(rows) == 23
    assert 5 not in rows
    assert rows[:6] == [each["row"] for each in server.get("/items/5/neighbours?k=6").json()]
    mixed = server.found(like=5, texts=["a red sheet"], k=24)
    assert 5 not in [each["row"] for each in mixed]


def test_pages_follow_one_another(server: Running) -> None:
    whole = server.found(texts=["a red sheet"], k=24)
    assert server.found(texts=["a red sheet"], k=7, offset=10) == whole[10:17]
    assert server.found(texts=["a red sheet"], k=7, offset=24) == []


def test_nothing_asked_for_is_the_collection_as_it_lies(server: Running) -> None:
    first, second = server.found(k=10), server.found(k=20, offset=10)
    assert [each["row"] for each in first + second] == list(range(24))
    assert {each["score"] for each in first} == {None}


def test_conditions_hold_for_all_answers(server: Running) -> None:
    word = "mwmwmwmwmwmwm"
    answer = server.post("/search", {"texts": ["red"], "where": [f"label={word}"]}).json()
    assert answer["total"] == len(answer["found"]) == 4
    assert {each["label"] for each in answer["found"]} == {word}
    assert server.post("/search", {"where": [f"label={word}"], "k": 3, "offset": 2}).json()["total"] == 4
    assert "has a column" in problem(server.post("/search", {"texts": ["red"], "where": ["year>=2020"]}), 422)


# items and their pictures


def test_an_item_tells_where_it_lies_and_where_more_is(server: Running, collection: Path) -> None:
    item = server.get("/items/3").json()
    assert Path(item["place"]).is_file()
    assert server.get(item["thumbnail"]).status_code == server.get(item["neighbours"]).status_code == 200
    assert "no picture 24 " in problem(server.get("/items/24"), 404)
    assert problem(server.get(f"/items/{10**30}"), 422)


def test_a_thumbnail_has_the_size_that_was_told_and_is_sent_once(server: Running) -> None:
    item = server.get("/items/3").json()
    answer = server.get("/items/3/thumbnail?side=320")
    assert Image.open(io.BytesIO(answer.content)).size == (item["width"], item["height"])
    again = server.get("/items/3/thumbnail?side=320", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert "no-cache" in answer.headers["cache-control"]
    assert server.get("/items/3/image").headers["content-type"] == "image/jpeg"


# the model's other sides


@pytest.mark.slow
def test_embeddings_are_the_encoder_s(server: Running, collection: Path) -> None:
    path = collection / "pictures" / "ooo ooooo oooo" / "07.png"
    answer = server.post("/embed", {"texts": ["red", "blue"], "images": [encoded(path.read_bytes())]}).json()
    encoder = zoo.load("tiny")
    wanted = np.concatenate([encoder.encode_text(["red", "blue"]).numpy(), encoder.encode_image([path]).numpy()])
    np.testing.assert_allclose(answer["embeddings"], wanted, atol=2e-6)
    assert answer["fingerprint"] == encoder.fingerprint()
    assert "Nothing was sent" in problem(server.post("/embed", {}), 422)


@pytest.mark.slow
def test_an_explanation_is_a_map_and_the_words_shares(server: Running, collection: Path) -> None:
    [found] = server.post("/explain", {"row": 3, "texts": ["red red sheet"]}).json()["maps"]
    assert [word for word, _ in found["words"]] == ["red", "red", "sheet"]
    assert sum(abs(share) for _, share in found["words"]) == pytest.approx(1, abs=1e-5)
    head, data = found["overlay"].split(",")
    assert head == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (
        server.get("/items/3").json()["width"],
        server.get("/items/3").json()["height"],
    )


@pytest.mark.slow
def test_word_by_word_there_is_a_map_for_each(server: Running) -> None:
    picture = sent(Image.new("RGB", (40, 30), "red"))
    maps = server.post("/explain", {"image": picture, "texts": ["red red sheet"], "by_word": True}).json()["maps"]
    assert [each["text"] for each in maps] == ["red", "red", "sheet"]
    assert maps[0] == maps[1] != maps[2]


def test_a_picture_or_a_row_is_explained_and_not_both(server: Running) -> None:
    for body in ({"texts": ["red"]}, {"texts": ["red"], "row": 1, "image": sent(Image.new("RGB", (9, 9)))}):
        assert "Send one of the two" in problem(server.post("/explain", body), 422)
    assert "33 texts" in problem(server.post("/explain", {"row": 1, "texts": [f"a{i}" for i in range(33)]}), 422)


def test_grounding_says_that_no_model_here_can(server: Running) -> None:
    message = problem(server.post("/ground", {"row": 1, "text": "red"}), 501)
    assert "can't locate" in message
    assert "deixis data get detector" in message


def test_a_model_that_can_points_at_what_is_meant(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture may be sent along or be one of the index; boxes are in shares of the whole picture."""
    monkeypatch.setattr("deixis.apps.serve.server_state.open_method", lambda model, capability: Grounder())
    picture = Image.new("RGB", (80, 40), (128, 128, 128))
    picture.paste((220, 20, 20), (50, 10, 70, 30))
    picture.paste((20, 20, 220), (10, 10, 30, 30))
    with running(collection / "run", dataclasses.replace(SMALL, ground="a-run")) as server:
        assert server.get("/run").json()["can_ground"]
        answer = server.post("/ground", {"image": sent(picture), "text": "red", "count": 2}).json()
        first, second = answer["boxes"]
        assert first["box"] == pytest.approx([50 / 80, 10 / 40, 70 / 80, 30 / 40], abs=0.07)
        assert first["score"] > second["score"]
        head, data = answer["overlay"].split(",")
        assert head == "data:image/png;base64"
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == (80, 40)
        assert server.post("/ground", {"row": 1, "text": "red"}).status_code == 200
        assert "either a row or an image" in problem(server.post("/ground", {"text": "red"}), 422)
        assert "no text, or an empty one" in problem(server.post("/ground", {"row": 1, "text": " "}), 422)


# the run, the page, what is watched


def test_the_run_says_what_it_is(server: Running) -> None:
    told = server.get("/run").json()
    assert (told["name"], told["model"], told["count"]) == ("run", "tiny", 24)
    assert len(told["columns"]["label"]) == 6
    assert set(told["columns"]) == {"label"}
    assert (told["can_explain"], told["can_ground"], told["report"]) == (True, False, False)
    assert "no report" in problem(server.get("/report"), 404)


def test_the_page_holds_no_script_inside_and_loads_from_nowhere_else(server: Running) -> None:
    answer = server.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'self'; img-src 'self' data: blob:;")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert server.get("/static/page.js").headers["content-type"].startswith("text/javascript")


@pytest.mark.parametrize("name", ["nothing.js", "..%2fserver.py", "%2e%2e/server.py", "page.js%00", "%2fetc%2fpasswd"])
def test_nothing_but_the_page_s_own_parts_is_served(name: str, server: Running) -> None:
    assert problem(server.get(f"/static/{name}"), 404)


def test_health_and_metrics_tell_how_it_goes(server: Running) -> None:
    assert server.get("/health").json() == {"status": "ok", "index": 24}
    server.found(texts=["blue"])
    server.get("/no/such/address/12345")
    text = server.get("/metrics").text
    assert 'deixis_requests_total{route="/search",status="200"}' in text
    assert "deixis_batch_pieces_bucket" in text
    assert "deixis_index_pictures 24.0" in text
    assert "deixis_queue 0.0" in text
    assert "12345" not in text


def test_every_route_is_documented_with_the_form_of_its_errors(server: Running) -> None:
    schema = server.get("/openapi.json").json()
    assert {"/search", "/embed", "/explain", "/ground", "/health", "/metrics"} <= set(schema["paths"])
    for path in schema["paths"].values():
        for operation in path.values():
            assert operation["description"]
            assert operation["responses"]["422"]["content"]["application/json"]["schema"]["$ref"].endswith("/Failure")
    assert schema["components"]["schemas"]["SearchRequest"]["examples"]


# errors


def test_errors_have_one_form(server: Running) -> None:
    assert problem(server.get("/nowhere"), 404)
    assert problem(server.client.put("/search"), 405)
    assert "no JSON" in problem(
        server.client.post("/search", content=b"{", headers={"content-type": "application/json"}), 400
    )
    assert "body.k" in problem(server.post("/search", {"texts": ["red"], "k": 201}), 422)
    assert "body.text" in problem(server.post("/search", {"text": "red"}), 422)


@pytest.mark.slow
def test_a_fault_inside_is_a_500_without_its_story(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(server.desk, "columns", broken)
    answer = server.get("/run")
    assert "This server has a fault" in problem(answer, 500)
    assert "secret" not in answer.text
    assert answer.headers["x-content-type-options"] == "nosniff"


# changes of the index


def test_a_changed_index_is_searched_without_a_restart(server: Running, tmp_path: Path, collection: Path) -> None:
    from deixis.indexing import changes

    changes.add(collection / "run" / "index", np.ones((1, 16)), [{"id": "new", "path": "gone.png", "captions": []}])
    try:
        assert server.get("/health").json()["index"] == 25
        assert server.found(k=1, offset=24)[0]["id"] == "new"
        assert len(server.found(texts=["red"], k=200)) == 25
        gone = server.get("/items/24/thumbnail")
        assert (gone.status_code, gone.headers["content-type"]) == (404, "image/svg+xml")
    finally:
        changes.remove(collection / "run" / "index", ["new"])
    assert server.get("/health").json()["index"] == 24
    assert problem(server.get("/items/24"), 404)


def test_exports_name_rows_only_and_report_what_has_gone(server: Running) -> None:
    assert problem(server.get("/export.zip", params={"rows": "../etc/passwd"}), 422)
    assert problem(server.get("/export.csv", params={"rows": "1,99999"}), 404)
    assert problem(server.get("/export.csv", params={"rows": ",".join(map(str, range(1001)))}), 422)
    items = [server.get(f"/items/{row}").json() for row in (6, 7)]
    table = list(csv.DictReader(io.StringIO(server.get("/export.csv", params={"rows": "6,7"}).text)))
    assert [row["path"] for row in table] == [item["place"] for item in items]
    assert [row["label"] for row in table] == [item["label"] for item in items]
    file = Path(items[1]["place"])
    file.rename(aside := file.with_suffix(".away"))
    try:
        archive = server.get("/export.zip", params={"rows": "6,7"})
    finally:
        aside.rename(file)
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert opened.namelist() == ["pictures.csv", items[0]["id"], "missing.txt"]
        assert items[1]["place"] in opened.read("missing.txt").decode()


def test_a_cell_of_an_export_is_no_formula_of_a_spreadsheet() -> None:
    item = {"id": "a.png", "path": "/a.png", "captions": ["=1+1"], "label": "@x", "price": "-3.5", "tags": ["a", "b"]}
    [row] = csv.DictReader(io.StringIO(_table([item])))
    assert (row["caption"], row["label"], row["price"], row["tags"]) == ("'=1+1", "'@x", "-3.5", "a, b")
