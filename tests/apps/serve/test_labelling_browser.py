"""Labelling on the page, in a real browser: by keys alone, each answer on the disk at once."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis.apps.label.label_table import Entry, LabelTable
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.settings import ServeSettings
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, running

pytestmark = pytest.mark.slow

NAMES = [f"{i:02}.png" for colour in (3, 5, 1, 0, 4, 2) for i in range(colour, 24, 6)]
"""The pictures of the collection in the order of its index."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, collection: Path) -> Iterator[tuple[Running, Path]]:
    """A server that labels the small collection, and its csv."""
    table = tmp_path_factory.mktemp("labels") / "labels.csv"
    with running(Searcher(collection / "run"), ServeSettings(labels=str(table))) as started:
        yield started, table


@pytest.fixture
def screen(browser: Any, shared: tuple[Running, Path]) -> Iterator[Screen]:
    """The page, not opened yet; nothing is labelled; at the end its console must be silent."""
    shared[1].unlink(missing_ok=True)
    screen = Screen(browser, shared[0].address)
    yield screen
    screen.close()


def saved(path: Path) -> dict[str, tuple[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return {Path(row["path"]).name: (row["caption"], row["label"]) for row in csv.DictReader(file)}


def named(screen: Screen) -> str:
    return Path(screen.page.locator("#label .name").inner_text()).name


def test_pictures_are_labelled_by_keys_alone_and_each_label_is_saved_at_once(
    screen: Screen, shared: tuple[Running, Path]
) -> None:
    page = screen.open().page
    page.get_by_role("link", name="Label", exact=True).click()
    screen.until(lambda: named(screen), NAMES[0])
    page.keyboard.type("a sheet")
    page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[1])
    assert saved(shared[1]) == {NAMES[0]: ("", "a sheet")}
    first = page.locator("#label-list button bdi").first
    own = shared[0].desk.item(1)["label"]
    screen.until(first.inner_text, own)
    page.keyboard.press("1")
    screen.until(lambda: named(screen), NAMES[2])
    assert saved(shared[1])[NAMES[1]] == ("", own)
    page.keyboard.press("ArrowRight")
    screen.until(lambda: named(screen), NAMES[3])
    page.keyboard.type("a sh")
    screen.until(first.inner_text, "a sheet")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[4])
    assert saved(shared[1])[NAMES[3]] == ("", "a sheet")
    page.keyboard.press("ArrowLeft")
    screen.until(lambda: page.locator("#label-text").input_value(), "a sheet")
    page.keyboard.press("Backspace")
    page.keyboard.press("Enter")
    screen.until(lambda: saved(shared[1])[NAMES[3]], ("", ""))
    screen.until(
        lambda: page.locator("#label").get_by_role("status").inner_text(), "Taken away. 2 of 24 labelled in labels.csv."
    )


def test_captions_are_written_beside_classes_and_numbers_can_be_typed(
    screen: Screen, shared: tuple[Running, Path]
) -> None:
    page = screen.open("#tab=label").page
    screen.until(lambda: named(screen), NAMES[0])
    page.keyboard.type("sheet 7")
    page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[1])
    page.get_by_role("radio", name="Caption").check()
    page.keyboard.press("ArrowLeft")
    screen.until(lambda: named(screen), NAMES[0])
    page.keyboard.type("one sheet, 2 <b>spots</b>")
    page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[1])
    assert saved(shared[1]) == {NAMES[0]: ("one sheet, 2 <b>spots</b>", "sheet 7")}
    screen.until(lambda: page.locator("#label-list bdi").all_inner_texts(), ["one sheet, 2 <b>spots</b>"])


def test_what_another_window_saved_is_told_and_what_holds_the_file_too(
    browser: Any, shared: tuple[Running, Path]
) -> None:
    shared[1].unlink(missing_ok=True)
    screen = Screen(browser, shared[0].address).open("#tab=label")
    page, alert = screen.page, screen.page.locator("#label").get_by_role("alert")
    screen.until(lambda: named(screen), NAMES[0])
    LabelTable(shared[1]).save(shared[0].desk.item(0)["path"], Entry(label="theirs"), Entry())
    page.keyboard.type("ours")
    page.keyboard.press("Enter")
    screen.until(lambda: "saved 'theirs' for this picture" in alert.inner_text(), True)
    assert (named(screen), page.locator("#label-text").input_value()) == (NAMES[0], "ours")
    page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[1])
    assert saved(shared[1]) == {NAMES[0]: ("", "ours")}
    office = shared[1].with_name(".~lock.labels.csv#")
    office.write_text(",Ada,host,now,home;")
    page.keyboard.type("next")
    page.keyboard.press("Enter")
    screen.until(lambda: "open in an office program (by Ada)" in alert.inner_text(), True)
    office.unlink()
    page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[2])
    assert saved(shared[1])[NAMES[1]] == ("", "next")
    screen.close(allowed="Failed to load resource")


def test_two_windows_label_side_by_side(browser: Any, screen: Screen, shared: tuple[Running, Path]) -> None:
    screen.open("#tab=label")
    other = Screen(browser, screen.address).open("#tab=label")
    screen.until(lambda: named(screen), NAMES[0])
    other.until(lambda: named(other), NAMES[0])
    other.page.keyboard.press("ArrowRight")
    other.until(lambda: named(other), NAMES[1])
    for window, words in ((screen, "mine"), (other, "yours")):
        window.page.locator("#label-text").fill(words)
        window.page.keyboard.press("Enter")
    other.until(lambda: named(other), NAMES[2])
    screen.until(lambda: len(saved(shared[1])), 2)
    assert saved(shared[1]) == {NAMES[0]: ("", "mine"), NAMES[1]: ("", "yours")}
    other.close()


def test_without_a_csv_there_is_no_tab_and_a_link_to_it_says_how(browser: Any, server: Running) -> None:
    screen = Screen(browser, server.address).open("#tab=label")
    screen.page.get_by_text("deixis serve INDEX --labels labels.csv").wait_for()
    assert not screen.page.get_by_role("link", name="Label", exact=True).is_visible()
    screen.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_labelling_fits_and_can_be_read_and_everything_has_a_name(
    screen: Screen, shared: tuple[Running, Path], width: int, scheme: str
) -> None:
    screen.open("#tab=label", width=width, scheme=scheme)
    screen.until(lambda: named(screen), NAMES[0])
    screen.page.locator("#label-text").fill("a sheet of paper, red")
    screen.page.keyboard.press("Enter")
    screen.until(lambda: named(screen), NAMES[1])
    screen.settle()
    assert (screen.faint(), screen.nameless()) == ([], [])
    assert screen.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    box = screen.page.locator("#label-text").bounding_box()
    assert box["y"] + box["height"] < screen.page.viewport_size["height"]
