"""Drafts of captions on the page, in a real browser: accepted, bettered, skipped and taken back by keys alone."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis.apps.adapt.adapt import adapt
from deixis.apps.adapt.drafts import read_accepted
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.apps.index.index import index
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.settings import ServeSettings
from tests.apps.serve.drafts import DRAFTS, rows_of, write_drafts
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, running
from tests.commands import own_cache
from tests.pictures import captioned

pytestmark = pytest.mark.slow

TEXTS = [draft.removeprefix("'") for _, draft, _ in DRAFTS]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Iterator[tuple[Running, Path]]:
    """A server of the small collection with three drafts, and their csv."""
    table = tmp_path_factory.mktemp("captions") / "captions.csv"
    searcher = Searcher(collection / "run")
    write_drafts(table, [item for _, item in searcher.index.items()])
    with running(searcher, ServeSettings(captions=str(table))) as started:
        yield started, table


@pytest.fixture
def screen(browser: Any, shared: tuple[Running, Path]) -> Iterator[Screen]:
    """The tab, open; nothing is accepted; at the end its console must be silent."""
    write_drafts(shared[1], [item for _, item in shared[0].desk.index().items()])
    screen = Screen(browser, shared[0].address).open("#tab=captions")
    shows(screen, TEXTS[0])
    yield screen
    screen.close()


def text(screen: Screen) -> str:
    return screen.page.locator("#caption-text").input_value()


def shows(screen: Screen, words: str) -> None:
    """Waits for a picture whose box holds these words, and for its neighbours."""
    screen.until(lambda: text(screen), words)
    screen.page.locator("#captions .nearest li").first.wait_for()


def how(screen: Screen) -> str:
    return screen.page.locator("#captions").get_by_role("status").inner_text()


def captions(path: Path) -> list[str]:
    return [row["caption"] for row in rows_of(path)[:3]]


def test_drafts_are_accepted_skipped_edited_and_taken_back_by_keys_alone(
    screen: Screen, shared: tuple[Running, Path]
) -> None:
    keys, path = screen.page.keyboard, shared[1]
    keys.press("Enter")
    shows(screen, TEXTS[1])
    assert captions(path) == [TEXTS[0], "", ""]
    keys.press("s")
    shows(screen, TEXTS[2])
    keys.type("A sum")
    keys.press("Enter")
    shows(screen, TEXTS[1])  # what was skipped comes again
    assert captions(path) == [TEXTS[0], "", "A sum"]
    assert "2 of 3 drafts: 1 accepted, 1 edited. 1 more of captions.csv are not in this index." in how(screen)
    keys.press("z")
    shows(screen, TEXTS[2])
    screen.until(lambda: captions(path), [TEXTS[0], "", ""])
    screen.until(lambda: how(screen).startswith("Undone."), True)
    keys.press("z")  # the skip
    shows(screen, TEXTS[1])
    keys.press("F2")
    keys.type(" s z 1")
    keys.press("Enter")
    shows(screen, TEXTS[2])
    assert captions(path)[1] == f"{TEXTS[1]} s z 1"
    keys.press("Enter")
    screen.until(lambda: "That is all. Next: deixis adapt captions.csv" in how(screen), True)
    assert captions(path)[2] == f"'{TEXTS[2]}"


def test_a_draft_with_html_or_from_right_to_left_is_shown_as_it_is_with_how_sure_it_is(screen: Screen) -> None:
    page, draft = screen.page, screen.page.locator("#caption-draft")
    assert draft.inner_text() == "A draft: about 7 in 10 such drafts are right."
    page.keyboard.type("a")
    assert draft.inner_text().endswith(f"The draft was: {TEXTS[0]}")
    assert page.locator("#captions i, #captions b").count() == 0
    page.keyboard.press("Escape")
    page.keyboard.press("s")
    shows(screen, TEXTS[1])
    assert "how often such drafts are right was not measured" in draft.inner_text()
    assert page.locator("#caption-text").evaluate("box => getComputedStyle(box).direction") == "rtl"


def test_the_caption_of_a_nearest_picture_is_taken_by_its_number_and_saved_by_enter(
    screen: Screen, shared: tuple[Running, Path]
) -> None:
    near = screen.page.locator("#captions .nearest bdi").all_inner_texts()
    assert len(near) == 3
    screen.page.keyboard.press("2")
    assert text(screen) == near[1]
    assert captions(shared[1]) == ["", "", ""]
    screen.page.keyboard.press("Enter")
    shows(screen, TEXTS[1])
    assert captions(shared[1]) == [near[1], "", ""]


def test_a_csv_that_was_written_anew_meanwhile_is_told_and_then_looked_at(
    browser: Any, shared: tuple[Running, Path]
) -> None:
    path = shared[1]
    write_drafts(path, [item for _, item in shared[0].desk.index().items()])
    screen = Screen(browser, shared[0].address).open("#tab=captions")
    shows(screen, TEXTS[0])
    path.write_text(path.read_text("utf-8").replace(TEXTS[0], "drafted anew"), encoding="utf-8")
    screen.page.keyboard.press("Enter")
    alert = screen.page.locator("#captions").get_by_role("alert")
    screen.until(lambda: "is 'drafted anew' by now" in alert.inner_text(), True)
    screen.until(lambda: "The draft was: drafted anew" in screen.page.locator("#caption-draft").inner_text(), True)
    assert (text(screen), captions(path)) == (TEXTS[0], ["", "", ""])
    screen.page.keyboard.press("Enter")
    shows(screen, TEXTS[1])
    assert captions(path) == [TEXTS[0], "", ""]
    screen.close(allowed="Failed to load resource")


def test_of_three_drafts_accepted_on_the_page_adapt_takes_just_these(browser: Any, tmp_path: Path) -> None:
    files = sorted(captioned(tmp_path / "pictures", 60).glob("*.png"))
    said = {file: file.with_suffix(".txt").read_text("utf-8").strip() for file in files}
    rows = [
        (file, "" if number < 8 else said[file], said[file] if number < 8 else "") for number, file in enumerate(files)
    ]
    with open(tmp_path / "captions.csv", "w", newline="") as out:
        csv.writer(out).writerows([("path", "caption", "draft"), *rows])
    with own_cache(tmp_path / "cache"):
        index(str(tmp_path / "pictures"), tmp_path / "index", "tiny", quiet=True)
        with running(tmp_path / "index", ServeSettings(captions=str(tmp_path / "captions.csv"))) as server:
            screen = Screen(browser, server.address).open("#tab=captions")
            for number in (0, 1, 2):
                shows(screen, said[files[number]])
                screen.page.keyboard.press("Enter")
            shows(screen, said[files[3]])
            screen.close()
        source = read_accepted(str(tmp_path / "captions.csv"), None, 0.0, Reporter(quiet=True))
        drafted = {Path(str(sample.image)): sample.captions for sample in source.samples if sample.extra.get("draft")}
        assert {file: texts for file, texts in drafted.items() if any(texts)} == {
            file: (said[file],) for file in files[:3]
        }
        settings = AdaptSettings(model="tiny", method="ridge", splits=6, controls=False)
        data = adapt(str(tmp_path / "captions.csv"), tmp_path / "run", settings, quiet=True).result["data"]
    assert (data["images"], data["captions"]) == (55, 55)


def test_without_a_csv_there_is_no_tab_and_a_link_to_it_says_how(browser: Any, server: Running) -> None:
    screen = Screen(browser, server.address).open("#tab=captions")
    screen.page.get_by_text("deixis serve INDEX --captions captions.csv").wait_for()
    assert not screen.page.get_by_role("link", name="Captions", exact=True).is_visible()
    screen.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_drafts_fit_and_can_be_read_and_everything_has_a_name(screen: Screen, width: int, scheme: str) -> None:
    screen.open("?again#tab=captions", width=width, scheme=scheme)
    shows(screen, TEXTS[0])
    screen.settle()
    assert (screen.faint(), screen.nameless()) == ([], [])
    assert screen.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    for control in ("#caption-text", "#captions .acts button"):
        box = screen.page.locator(control).first.bounding_box()
        assert box["y"] + box["height"] < screen.page.viewport_size["height"]
