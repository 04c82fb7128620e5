"""Drafts of captions over the server's routes: one csv is written, whole, and nothing is taken that nobody saw."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.settings import ServeSettings
from deixis.errors import DeixisError
from tests.apps.serve.drafts import DRAFTS, rows_of, write_drafts
from tests.apps.serve.serving import Running, problem, running


@pytest.fixture
def drafting(collection: Path, tmp_path: Path) -> Iterator[Running]:
    """A server of the small collection with a csv of drafts of three of its pictures, and captions of six others."""
    searcher = Searcher(collection / "run")
    write_drafts(tmp_path / "captions.csv", [item for _, item in searcher.index.items()])
    with running(searcher, ServeSettings(captions=str(tmp_path / "captions.csv"))) as started:
        yield started


def test_drafts_come_in_the_order_of_their_csv_and_each_caption_is_on_the_disk_when_it_is_answered(
    drafting: Running, tmp_path: Path
) -> None:
    assert drafting.get("/run").json()["captions"] == "captions.csv"
    queue = drafting.get("/captions/queue").json()
    assert [(each["item"]["row"], each["draft"], each["sure"], each["kind"]) for each in queue] == [
        (row, draft.removeprefix("'"), sure, "untouched") for row, draft, sure in DRAFTS
    ]
    first, second = (each["item"]["row"] for each in queue[:2])
    assert drafting.post(f"/captions/{first}", {"caption": DRAFTS[0][1], "draft": DRAFTS[0][1]}).status_code == 200
    told = drafting.post(f"/captions/{second}", {"caption": "<b>other</b>", "draft": DRAFTS[1][1]}).json()
    assert told == {"file": "captions.csv", "total": 3, "accepted": 1, "edited": 1, "untouched": 1, "absent": 1}
    rows = rows_of(tmp_path / "captions.csv")
    assert [(row["caption"], row["draft"], row["note"]) for row in rows[:2]] == [
        (DRAFTS[0][1], DRAFTS[0][1], "kept 0"), ("<b>other</b>", DRAFTS[1][1], "kept 1")
    ]  # fmt: skip
    waiting = drafting.get("/captions/queue", params={"start": 1, "waiting": True}).json()
    assert [each["item"]["row"] for each in waiting] == [DRAFTS[2][0]]
    assert drafting.post(f"/captions/{first}", {"before_caption": DRAFTS[0][1], "draft": DRAFTS[0][1]}).json()[
        "untouched"
    ] == 2  # fmt: skip


def test_a_cell_that_tables_would_compute_is_made_harmless_and_read_back_as_it_was(
    drafting: Running, tmp_path: Path
) -> None:
    row, draft, _ = DRAFTS[2]
    assert draft == "'=SUM(A1)"
    told = drafting.post(f"/captions/{row}", {"caption": "=SUM(A1)", "draft": "=SUM(A1)"}).json()
    assert (told["accepted"], rows_of(tmp_path / "captions.csv")[2]["caption"]) == (1, "'=SUM(A1)")
    assert drafting.get("/captions/queue").json()[2]["caption"] == "=SUM(A1)"


def test_the_nearest_captioned_pictures_come_with_their_captions(drafting: Running) -> None:
    index, row = drafting.desk.index(), DRAFTS[0][0]
    captioned = [each for each, _ in index.items() if drafting.desk.drafts.entry(index, each).caption]  # type: ignore[union-attr]
    assert len(captioned) == 6
    order = sorted(captioned, key=lambda each: -float(index.vector(each) @ index.vector(row)))
    near = drafting.get(f"/captions/nearest/{row}").json()
    assert [(each["item"]["row"], each["caption"]) for each in near] == [(one, f"own {one}") for one in order[:3]]


def test_a_csv_that_was_changed_elsewhere_meanwhile_is_refused_with_the_cure(drafting: Running, tmp_path: Path) -> None:
    path, (row, draft, _) = tmp_path / "captions.csv", DRAFTS[0]
    path.write_text(path.read_text("utf-8").replace(draft, "drafted anew"), encoding="utf-8")
    said = problem(drafting.post(f"/captions/{row}", {"caption": draft, "draft": draft}), 409)
    assert f"the draft of this picture is 'drafted anew' by now, and was '{draft}'" in said
    assert "Look at it, then save again." in said
    assert [each["caption"] for each in rows_of(path)[:3]] == ["", "", ""]
    path.write_text(path.read_text("utf-8").replace(",drafted anew", "theirs,drafted anew"), encoding="utf-8")
    said = problem(drafting.post(f"/captions/{row}", {"caption": "ours", "draft": "drafted anew"}), 409)
    assert "saved 'theirs' for this picture" in said
    path.unlink()
    assert problem(drafting.post(f"/captions/{row}", {"caption": draft, "draft": draft}), 409)
    assert not path.exists()


def test_captions_go_nowhere_else(drafting: Running, server: Running) -> None:
    assert "--captions" in problem(server.post("/captions/3", {"caption": "x", "draft": ""}), 404)
    assert problem(drafting.post("/captions/3", {"caption": "x", "draft": "", "path": "/tmp/other.csv"}), 422)
    assert "other site" in problem(
        drafting.post("/captions/3", {"draft": ""}, headers={"Origin": "http://evil.example"}), 403
    ).replace("another", "other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"is not there.*Write some: deixis caption DATA --out captions\.csv"),
        ("path,caption,draft\na.png,,\n", "has no drafts of captions"),
        ("path,caption,draft\na.png,,a cat\n", "None of the pictures with drafts"),
    ],
)
def test_a_csv_without_a_draft_to_look_at_is_refused_at_the_start(
    collection: Path, tmp_path: Path, text: str | None, message: str
) -> None:
    if text is not None:
        (tmp_path / "captions.csv").write_text(text)
    settings = ServeSettings(captions=str(tmp_path / "captions.csv"))
    with pytest.raises(DeixisError, match=message), running(collection / "run", settings):
        pass


def test_the_rest_of_the_csv_stays_byte_by_byte(drafting: Running, tmp_path: Path) -> None:
    def lines() -> list[str]:
        return (tmp_path / "captions.csv").read_text("utf-8").splitlines()

    before, (row, draft, _) = lines(), DRAFTS[1]
    assert drafting.post(f"/captions/{row}", {"caption": "سمكة", "draft": draft}).status_code == 200
    changed = [(one, other) for one, other in itertools.zip_longest(before, lines()) if one != other]
    assert len(changed) == 1
    assert "سمكة" in changed[0][1]
    assert csv.Sniffer().sniff(before[0]).delimiter == ","
