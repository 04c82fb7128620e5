"""Words over the server's routes: one csv is written, whole, and nothing is taken that was not suggested."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deixis.apps.common.dataset import read
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.settings import ServeSettings
from deixis.apps.words.tags import cut, tags_of
from deixis.errors import DeixisError
from tests.apps.serve.drafts import rows_of
from tests.apps.serve.serving import Running, problem, running
from tests.apps.serve.tagging import SUGGESTED, write_words


@pytest.fixture
def tagging(collection: Path, tmp_path: Path) -> Iterator[Running]:
    """A server of the small collection with suggested tags for three of its pictures."""
    searcher = Searcher(collection / "run")
    write_words(tmp_path / "my-words", [item for _, item in searcher.index.items()])
    with running(searcher, ServeSettings(words=str(tmp_path / "my-words"))) as started:
        yield started


def decide(server: Running, row: int, tag: str, decision: str, before: str = "untouched") -> dict[str, int]:
    answer = server.post(f"/words/{row}", {"tag": tag, "decision": decision, "before": before})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_decision_is_on_the_disk_when_it_is_answered_and_words_and_adapt_read_the_csv(
    tagging: Running, tmp_path: Path
) -> None:
    assert tagging.get("/run").json()["words"] == "tags.csv"
    queue = tagging.get("/words/queue").json()
    assert [each["item"]["row"] for each in queue] == list(SUGGESTED)
    assert [(one["tag"], one["chance"]) for one in queue[0]["suggestions"]] == list(SUGGESTED[9])
    assert decide(tagging, 9, "=1+1", "accepted")["accepted"] == 1
    assert decide(tagging, 9, "sea", "refused")["refused"] == 1
    path = tmp_path / "my-words" / "tags.csv"
    row = rows_of(path)[0]
    assert (row["caption"], row["tags"], row["refused"]) == ("a sheet, 9", "sheet; own 9; =1+1", "sea")
    source = read(str(path), None)
    assert tags_of(source.samples, "")[0] == ["sheet", "own 9", "=1+1"]
    assert cut(source.samples[0].extra["refused"]) == ["sea"]
    assert source.samples[0].captions == ("a sheet, 9",)
    assert [each["item"]["row"] for each in tagging.get("/words/queue?waiting=true").json()] == [4, 0]


def test_a_list_of_tags_that_a_table_would_compute_is_made_harmless_and_read_back_as_it_was(
    tagging: Running, tmp_path: Path
) -> None:
    decide(tagging, 9, "=1+1", "refused")
    assert rows_of(tmp_path / "my-words" / "tags.csv")[0]["refused"] == "'=1+1"
    assert tagging.get("/words/queue").json()[0]["suggestions"][0]["decision"] == "refused"
    assert "'=1+1" in (tmp_path / "my-words" / "missing.csv").read_text("utf-8")


def test_what_is_not_suggested_or_decided_elsewhere_or_unknown_is_refused(tagging: Running) -> None:
    body = {"tag": "own 4", "decision": "refused", "before": "untouched"}
    assert "'own 4' is not suggested for this picture" in problem(tagging.post("/words/9", body), 404)
    problem(tagging.post("/words/9999", body), 404)
    problem(tagging.post("/words/9", {**body, "path": "/tmp/other.csv"}), 422)
    decide(tagging, 9, "sea", "refused")
    other = tagging.post("/words/9", {"tag": "sea", "decision": "accepted", "before": "untouched"})
    assert "'sea' is refused meanwhile" in problem(other, 409)


def test_words_are_found_by_letters_those_first_that_begin_with_them(tagging: Running) -> None:
    found = tagging.get("/words/near", params={"q": " Boat", "k": 5}).json()
    assert [each["word"] for each in found] == ["boat", "<b>boat</b>"]
    assert [each["word"] for each in found[0]["goes_with"]] == ["sea", "<b>boat</b>", "=1+1", "بحر"]
    assert len(tagging.get("/words/near?k=3").json()) == 3


def test_without_a_folder_of_words_it_is_said_how_to_name_one(server: Running) -> None:
    assert "Start the server with --words my-words." in problem(server.get("/words"), 404)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("words.json", None, r"it has no words\.json.*deixis words DATA --out"),
        ("words.json", '{"sea": 3}', "is damaged"),
        ("missing.csv", "path,word\na.png,sea\n", "is damaged"),
        ("missing.csv", "path,tag,chance\na.png,sea,often\n", "is damaged"),
        ("missing.csv", "path,tag,chance\na.png,sea,0.2\n", "None of the pictures with suggested tags"),
        ("tags.csv", "tags,refused\nsea,\n", "no column that names the image files"),
    ],
)
def test_a_folder_that_is_none_of_words_is_refused_at_the_start(
    collection: Path, tmp_path: Path, name: str, text: str | None, message: str
) -> None:
    searcher = Searcher(collection / "run")
    write_words(tmp_path / "my-words", [item for _, item in searcher.index.items()])
    if text is None:
        (tmp_path / "my-words" / name).unlink()
    else:
        (tmp_path / "my-words" / name).write_text(text)
    with pytest.raises(DeixisError, match=message), running(searcher, ServeSettings(words=str(tmp_path / "my-words"))):
        pass
