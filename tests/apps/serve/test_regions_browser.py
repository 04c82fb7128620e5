"""Parts of pictures on the page, in a real browser: classes of pixels, words that stand in them, boxes of words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.apps.serve.reading import ALIKE, reading_server
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with reading_server(tmp_path_factory.mktemp("read")) as started:
        yield started


@pytest.fixture
def screen(browser: Any, read: Running) -> Iterator[Screen]:
    screen = Screen(browser, read.address)
    yield screen
    screen.close()


def _names(read: Running, **query: Any) -> list[str]:
    return [each["name"] for each in read.found(**query)]


def _segment(screen: Screen, classes: str) -> Any:
    """Opens a picture and colours it."""
    screen.page.locator(".tile a").first.click()
    screen.page.wait_for_selector("#view-large:not([hidden])")
    screen.page.locator("#view-segment").click()
    screen.page.locator("#segment-text").fill(classes)
    screen.page.keyboard.press("Enter")
    screen.page.locator("#segment-found :is(ul, p:not(.soft))").first.wait_for()
    return screen.page


def test_classes_are_coloured_over_the_picture_with_a_legend_and_hidden_again_by_a_click(screen: Screen) -> None:
    page = _segment(screen.open(), "red, a <b>dog</b>")
    layer = page.locator("#view-layer")
    red, rest = page.locator("#segment-found li").all_inner_texts()
    share = red.removeprefix("red\n")
    assert abs(int(share.removesuffix(" %")) - 25) < 5
    assert layer.get_attribute("alt") == f"Coloured by class: red {share}"
    assert rest.startswith("everything else\n")
    assert page.locator("#segment-found p").inner_text() == "Nothing here is a <b>dog</b>."
    drawn, below = (page.locator(each).bounding_box() for each in ("#view-layer", "#view-large"))
    assert drawn == below
    colour = page.locator("#segment-found li i").first.evaluate("patch => getComputedStyle(patch).backgroundColor")
    assert colour == "rgb(214, 39, 40)"
    page.locator("#view-segment").click()
    assert not layer.is_visible()
    assert not page.locator("#segment").is_visible()


def test_the_overlay_of_one_picture_does_not_stay_on_the_next(screen: Screen) -> None:
    page = _segment(screen.open("#q=red"), "red")
    with screen.altered("segment", lambda route: None):  # hangs
        page.keyboard.press("Escape")
        page.locator(".tile a").nth(1).click()
        page.wait_for_selector("#view-large:not([hidden])")
        assert not page.locator("#view-layer").is_visible()
        page.locator("#view-segment").click()
        screen.until(lambda: page.locator("#segment-text").input_value(), "red")
        assert not page.locator("#view-layer").is_visible()


def test_pictures_are_found_by_what_stands_in_them_and_the_address_holds_it(screen: Screen, read: Running) -> None:
    page = screen.open().page
    screen.field("Says: words that stand in the picture").fill("parking")
    page.keyboard.press("Enter")
    screen.shows(_names(read, says="parking"))
    assert screen.status() == "3 pictures in which “parking” stands"
    page.reload()
    screen.settle()
    screen.shows(_names(read, says="parking"))
    page.get_by_role("searchbox").fill("red")
    screen.shows(_names(read, says="parking", texts=["red"]))
    screen.button("Take away: says “parking”").click()
    screen.shows(_names(read, texts=["red"]))


def test_the_first_results_are_ranked_again_by_a_switch_that_tells_its_cost(screen: Screen, read: Running) -> None:
    page, switch = screen.open("#q=red+sheet").page, screen.page.locator("#rerank-on")
    assert "Re-rank the first 50: about " in page.locator("#rerank").inner_text()
    switch.check()
    screen.shows(_names(read, texts=["red sheet"], rerank=True))
    screen.until(lambda: screen.status().startswith("5 pictures; the first 5 scored again, in "), True)
    assert [each["rerank"] for each in screen.searches()][-1]
    page.locator("#without").fill("blue")
    page.keyboard.press("Enter")
    screen.until(lambda: screen.searches()[-1]["minus_texts"], ["blue"])
    assert not screen.searches()[-1]["rerank"]
    assert switch.is_disabled()


def test_a_word_that_is_pointed_at_or_has_the_focus_lights_its_box_on_the_results_until_the_next_search(
    screen: Screen,
) -> None:
    page, boxes = screen.open("#q=a+red").page, screen.page.locator(".tile svg.meant")
    words = page.locator("#meant button")
    screen.until(words.all_inner_texts, ["a", "red"])
    aligned = [each for each in screen.asked if each.url.endswith("/align")]
    assert len(aligned) == 1  # nobody has pointed at anything yet
    words.nth(1).hover()
    screen.until(boxes.count, 5)
    assert boxes.first.get_attribute("aria-label").startswith("red: ")
    assert boxes.first.locator("g").count() == 1
    page.locator("#name").hover()
    screen.until(boxes.count, 0)
    words.first.focus()
    screen.until(boxes.count, 5)
    assert boxes.first.get_attribute("aria-label").startswith("a: ")
    with screen.altered("align", lambda route: None):  # hangs
        page.get_by_role("searchbox").fill("blue")
        screen.until(boxes.count, 0)
        screen.until(page.locator("#meant").is_visible, False)
    page.get_by_role("searchbox").fill("")
    screen.until(lambda: screen.searches()[-1]["texts"], [])
    screen.until(page.locator("#meant").is_visible, False)


def test_a_button_under_a_picture_finds_those_that_are_alike_in_one_respect(screen: Screen, read: Running) -> None:
    page = screen.open().page
    page.locator(".tile a").nth(2).click()
    page.wait_for_selector("#view-large:not([hidden])")
    screen.button("Alike in colour").click()
    screen.shows(_names(read, like=2, about="colour"))
    assert screen.status() == f"4 pictures, best first. {ALIKE}"
    page.reload()
    screen.settle()
    screen.shows(_names(read, like=2, about="colour"))
    screen.button("Take away: alike in colour").click()
    screen.shows(_names(read, like=2))
    screen.button("Take away the picture").click()
    screen.until(lambda: screen.searches()[-1]["like"], None)


def test_where_there_are_respects_alike_in_all_is_the_first_of_them(screen: Screen, read: Running) -> None:
    page = screen.open().page
    page.locator(".tile a").nth(2).click()
    page.wait_for_selector("#view-large:not([hidden])")
    assert page.get_by_role("group", name="Alike in").get_by_role("button").all_inner_texts() == [
        "Alike in all",
        "Alike in colour",
    ]
    assert not screen.button("Similar ones").is_visible(), "which would be the same"
    screen.button("Alike in all").click()
    screen.shows(_names(read, like=2))
    assert not page.get_by_role("button", name="Take away: alike in").count()


def test_without_words_and_models_nothing_of_it_is_offered(browser: Any, server: Running) -> None:
    screen = Screen(browser, server.address).open("#q=red")
    assert screen.page.locator("#says:visible, #rerank:visible, #meant:visible").count() == 0
    screen.page.locator(".tile a").first.click()
    screen.page.wait_for_selector("#view-large:not([hidden])")
    assert not screen.page.locator("#view-segment").is_visible()
    assert not screen.button("Alike in").is_visible()
    assert screen.button("Similar ones").is_visible()
    screen.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_all_of_it_fits_and_can_be_read_and_has_a_name(screen: Screen, width: int, scheme: str) -> None:
    page = screen.open("#q=red+sheet&rerank=on&says=parking", width=width, scheme=scheme).page
    page.locator("#meant button").first.wait_for()
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert (screen.faint(), screen.nameless()) == ([], [])
    _segment(screen, "red, blue")
    assert page.evaluate("document.querySelector('.told').scrollWidth <= innerWidth")
    assert (screen.faint(), screen.nameless()) == ([], [])
