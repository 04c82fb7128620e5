"""Words on the page, in a real browser: tags that pictures may lack are accepted, refused, taken back, by keys too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.settings import ServeSettings
from tests.apps.serve.drafts import rows_of
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, running
from tests.apps.serve.tagging import write_words

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Iterator[tuple[Running, Path]]:
    """A server of the small collection with suggestions for three pictures, and their csv."""
    folder = tmp_path_factory.mktemp("tags") / "my-words"
    searcher = Searcher(collection / "run")
    write_words(folder, [item for _, item in searcher.index.items()])
    with running(searcher, ServeSettings(words=str(folder))) as started:
        yield started, folder


@pytest.fixture
def screen(browser: Any, shared: tuple[Running, Path]) -> Iterator[Screen]:
    """The tab, open; nothing is decided; at the end its console must be silent."""
    write_words(shared[1], [item for _, item in shared[0].desk.index().items()])
    screen = Screen(browser, shared[0].address).open("#tab=tags")
    shows(screen, ["=1+1", "sea"])
    yield screen
    screen.close()


def shows(screen: Screen, tags: list[str]) -> None:
    """Waits for a picture that may lack these, and for the words below."""
    screen.until(lambda: screen.page.locator("#tags .lacking .tag").all_inner_texts(), tags)
    screen.page.locator("#tags .near-lists li").first.wait_for()


def how(screen: Screen) -> str:
    return screen.page.locator("#tags").get_by_role("status").inner_text()


def saved(folder: Path) -> list[tuple[str, str]]:
    return [(row["tags"], row["refused"]) for row in rows_of(folder / "tags.csv")[:3]]


def test_tags_are_accepted_refused_skipped_and_taken_back_by_keys_alone(
    screen: Screen, shared: tuple[Running, Path]
) -> None:
    keys, folder = screen.page.keyboard, shared[1]
    keys.press("a")
    screen.until(lambda: how(screen).startswith("Accepted “=1+1”. 1 of 5 tags for 3 pictures"), True)
    assert saved(folder)[0] == ("sheet; own 9; =1+1", "")
    keys.press("r")
    shows(screen, ["<b>boat</b>"])
    assert saved(folder)[0] == ("sheet; own 9; =1+1", "sea")
    keys.press("s")
    shows(screen, ["sea", "بحر"])
    keys.press("ArrowDown")
    keys.press("r")
    screen.until(lambda: saved(folder)[2], ("sheet; own 0", "بحر"))
    screen.until(lambda: how(screen).startswith("Refused"), True)
    keys.press("z")
    screen.until(lambda: how(screen).startswith("Undone."), True)
    assert saved(folder)[2] == ("sheet; own 0", "")
    keys.press("z")  # the skip
    shows(screen, ["<b>boat</b>"])
    keys.press("r")
    shows(screen, ["sea", "بحر"])
    keys.press("a")
    screen.until(lambda: how(screen).startswith("Accepted “sea”"), True)
    keys.press("a")
    screen.until(lambda: "That is all. Next: deixis words my-words/tags.csv" in how(screen), True)
    assert "Not in this index: 1 picture more." in how(screen)
    assert saved(folder) == [
        ("sheet; own 9; =1+1", "sea"),
        ("sheet; own 4", "<b>boat</b>"),
        ("sheet; own 0; sea; بحر", ""),
    ]


def test_a_click_decides_and_a_second_one_takes_it_back(screen: Screen, shared: tuple[Running, Path]) -> None:
    screen.button("Refuse =1+1").click()
    screen.until(lambda: saved(shared[1])[0], ("sheet; own 9", "'=1+1"))
    screen.until(lambda: screen.button("Refuse =1+1").get_attribute("aria-pressed"), "true")
    screen.button("Refuse =1+1").click()
    screen.until(lambda: saved(shared[1])[0], ("sheet; own 9", ""))


def test_what_another_window_decided_is_told_and_then_shown(browser: Any, shared: tuple[Running, Path]) -> None:
    write_words(shared[1], [item for _, item in shared[0].desk.index().items()])
    screen = Screen(browser, shared[0].address).open("#tab=tags")
    shows(screen, ["=1+1", "sea"])
    theirs = {"tag": "sea", "decision": "refused", "before": "untouched"}
    assert shared[0].post("/words/9", theirs).status_code == 200
    screen.button("Accept sea").click()
    screen.until(lambda: "'sea' is refused meanwhile" in screen.page.locator("#tags .panel").inner_text(), True)
    screen.until(lambda: screen.button("Refuse sea").get_attribute("aria-pressed"), "true")
    screen.close(allowed="Failed to load resource")


def test_a_tag_that_is_clicked_shows_what_it_goes_with_and_leads_to_its_pictures(screen: Screen) -> None:
    screen.page.locator("#tags .lacking .tag").nth(1).click()
    title = screen.page.locator("#tags .near-words h3")
    screen.until(lambda: title.inner_text().startswith("sea on 9 pictures"), True)
    screen.field("Find a tag").fill("boat")
    screen.until(lambda: title.inner_text().startswith("boat on 8"), True)
    assert screen.page.locator("#tags .word-table ul button").all_inner_texts() == ["boat", "<b>boat</b>"]
    screen.page.locator("#tags .near-lists button").first.click()
    screen.until(lambda: title.inner_text().startswith("sea"), True)
    screen.field("Find a tag").fill("arsz")  # keys that decide are letters of a word here
    screen.page.get_by_text("No tag holds these letters.").wait_for()
    screen.field("Find a tag").fill("sea")
    screen.until(lambda: title.inner_text().startswith("sea"), True)
    screen.page.get_by_role("link", name="search for it").click()
    screen.until(lambda: screen.page.locator("#words").input_value(), "sea")
    screen.settle()


def test_without_a_folder_there_is_no_tab_and_a_link_to_it_says_how(browser: Any, server: Running) -> None:
    screen = Screen(browser, server.address).open("#tab=tags")
    screen.page.get_by_text("deixis serve INDEX --words my-words").wait_for()
    assert not screen.page.get_by_role("link", name="Words", exact=True).is_visible()
    screen.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_words_fit_and_can_be_read_and_everything_has_a_name(screen: Screen, width: int, scheme: str) -> None:
    screen.open("?again#tab=tags", width=width, scheme=scheme)
    shows(screen, ["=1+1", "sea"])
    screen.settle()
    assert (screen.faint(), screen.nameless()) == ([], [])
    assert screen.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    box = screen.page.locator("#tags .lacking button").nth(1).bounding_box()
    assert box["y"] + box["height"] < screen.page.viewport_size["height"]
