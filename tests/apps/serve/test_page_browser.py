"""Searching with the page in a real browser: words, pictures, both, what is left out, filters, back and forward."""

from __future__ import annotations

import base64
import csv
import random
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.index.index import index
from deixis.apps.search.calibration import in_words
from deixis.apps.search.query import Query
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.settings import ServeSettings
from deixis.engine.evaluation.calibration import Calibration
from deixis.ops.calibration import Logistic
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, running
from tests.commands import own_cache

pytestmark = pytest.mark.slow

COUNT = 300
WORDS = ("red", "tall", "round", "soft", "old", "bright", "small")
THINGS = ("cup", "boat", "chair", "bird", "lamp")
SURE = Calibration(Logistic((0.0, 1.0), -1.0), None, Logistic((1.0,), 0.0), COUNT, COUNT, 0.0, threshold=0.0)
NEVER = Calibration(SURE.evidence, None, SURE.presence, COUNT, COUNT, 0.0, threshold=1.0)


def _picture(path: Path, rng: random.Random) -> None:
    size = (rng.choice((16, 24, 32, 48)), rng.choice((16, 24, 32)))
    with Image.new("RGB", size, tuple(rng.randrange(256) for _ in range(3))) as image:
        for _ in range(4):
            x, y = rng.randrange(size[0]), rng.randrange(size[1])
            image.paste(tuple(rng.randrange(256) for _ in range(3)), (x, y, x + 9, y + 9))
        image.save(path)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`photos`, some hundred tiny pictures with a table of what is known of them, and `run`, an index of them."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "photos").mkdir()
    rng = random.Random(0)
    with open(folder / "photos" / "table.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["image", "caption", "kind", "year"])
        for i in range(COUNT):
            name, thing = f"{i:03}.png", THINGS[i % len(THINGS)]
            _picture(folder / "photos" / name, rng)
            table.writerow([name, f"a {rng.choice(WORDS)} {thing}, number {i}", thing, 2001 + i % 12])
    with own_cache(folder / "cache"):
        index(str(folder / "photos" / "table.csv"), folder / "run", "tiny", quiet=True)
        (folder / "run" / "report.html").write_text("<!doctype html><title>Report</title><h1>What it bought</h1>")
        yield folder


@pytest.fixture(scope="module")
def searcher(shop: Path) -> Searcher:
    """The same index, asked without a page; with chances as if they had been measured."""
    searcher = Searcher(shop / "run")
    searcher.__dict__["calibration"] = SURE
    return searcher


@pytest.fixture(scope="module")
def server(searcher: Searcher, shop: Path) -> Iterator[Running]:
    """A server of it."""

    def update(data: str, progress: Callable[[int, int], None]) -> str:
        for done in range(3):
            progress(done, 3)
        return "3 new pictures."

    with running(searcher, ServeSettings(folder=(str(shop / "photos"),)), update=update) as started:
        yield started


def _titles(answer: Any, count: int = 8) -> list[str]:
    return [each.item["captions"][0] for each in answer][:count]


def _photo(shop: Path, number: int) -> str:
    return base64.b64encode((shop / "photos" / f"{number:03}.png").read_bytes()).decode("ascii")


def _caption(searcher: Searcher, number: int) -> str:
    return searcher.index.item(number)["captions"][0]


def test_words_show_what_a_search_finds(screen: Screen, searcher: Searcher) -> None:
    screen.open().page.keyboard.type("a red cup")  # the box has the focus
    screen.shows(_titles(searcher.search("a red cup", 8)))
    words = in_words(searcher.search("a red cup", 1)[0].relevance or 0.0)
    assert screen.status().startswith("300 pictures, best first.")
    assert words in screen.status()
    assert screen.page.locator(".said").first.inner_text() in (words, words.removeprefix("about "))
    screen.button("Picture", exact=True).focus()
    screen.field("And: further words").fill("a tall boat")
    screen.field("And: further words").press("Enter")
    screen.shows(_titles(searcher.search(Query(("a red cup", "a tall boat")), 8)))
    assert "plain similarities" in screen.status()


def _typed_at_once(screen: Screen, words: str) -> None:
    """Letter by letter, with no time between them, however busy the machine is."""
    screen.page.get_by_role("searchbox").evaluate(
        """(box, words) => {
            for (const letter of words) {
                box.value += letter;
                box.dispatchEvent(new InputEvent("input", { bubbles: true, data: letter }));
            }
        }""",
        words,
    )


def test_keys_in_a_row_are_one_search_and_a_late_answer_changes_nothing(screen: Screen, searcher: Searcher) -> None:
    held: list[Any] = []

    def slow(route: Any) -> None:
        if route.request.post_data_json["texts"] == ["bo"]:
            held.append(route)
        else:
            route.continue_()

    screen.open()
    with screen.altered("search", slow):
        _typed_at_once(screen, "bo")
        screen.until(lambda: len(held), 1)
        _typed_at_once(screen, "at with a lamp")
        screen.shows(_titles(searcher.search("boat with a lamp", 8)))
        held[0].fulfill(json={"found": [], "nothing": True, "sentence": "", "total": 0, "seconds": 0})
        screen.settle()
    screen.shows(_titles(searcher.search("boat with a lamp", 8)))
    assert [each["texts"] for each in screen.searches()] == [[], ["bo"], ["boat with a lamp"]]


@pytest.mark.parametrize("way", ["drop", "paste", "choose"])
def test_a_picture_of_the_index_is_left_out_of_its_results_and_survives_reload_and_link(
    screen: Screen, browser: Any, shop: Path, searcher: Searcher, way: str
) -> None:
    screen.open()
    if way == "choose":
        screen.page.locator("#file").set_input_files(shop / "photos" / "123.png")
    else:
        screen.bring(way, "123.png", _photo(shop, 123))
    wanted = _titles(searcher.like(123, 8))
    screen.shows(wanted)
    assert screen.status().startswith("299 pictures, best first.")
    assert screen.page.url.endswith("#like=123.png")
    screen.page.reload()
    screen.shows(wanted)
    assert "row=" not in screen.page.locator(".chip img").get_attribute("src")
    other = Screen(browser, screen.address)
    other.page.goto(screen.page.url)
    other.shows(wanted)
    other.close()
    screen.button("Take away the picture: a picture of the collection").click()
    screen.shows([_caption(searcher, 0)])
    assert screen.status() == "300 pictures"
    screen.page.go_back()
    screen.shows(wanted)


def test_a_picture_of_ones_own_is_too_large_for_an_address_which_says_so(
    screen: Screen, searcher: Searcher, tmp_path: Path
) -> None:
    with Image.new("RGB", (64, 48), "teal") as image:
        image.save(tmp_path / "mine.png")
    screen.open("#q=bird").page.locator("#file").set_input_files(tmp_path / "mine.png")
    wanted = _titles(searcher.search(Query(("bird",), (tmp_path / "mine.png",)), 8))
    screen.shows(wanted)
    assert screen.page.url.endswith("#q=bird&pictures=1")
    assert not screen.page.locator("#lost").is_visible()
    screen.page.get_by_role("searchbox").fill("boat")
    screen.page.get_by_role("searchbox").press("Enter")
    screen.page.go_back()
    screen.shows(wanted)  # as long as the page is open
    screen.page.reload()
    screen.shows(_titles(searcher.search("bird", 8)))
    assert "a picture that is not in this index" in screen.page.locator("#lost").inner_text()
    screen.button("Search without it").click()
    screen.until(screen.page.locator("#lost").is_visible, False)
    assert screen.page.url.endswith("#q=bird")


def test_words_and_picture_are_mixed_by_the_slider(screen: Screen, shop: Path, searcher: Searcher) -> None:
    screen.open("#q=bird")
    slider = screen.page.get_by_role("slider", name="Weight of picture against words")
    assert not slider.is_visible()
    screen.bring("paste", "7.png", _photo(shop, 7))
    picture = shop / "photos" / "007.png"
    for mix in (0.5, 0.55, 1.0, 0.0):
        if mix != 0.5:
            slider.fill(str(mix))
        screen.shows(_titles(searcher.search(Query(("bird",), (picture,), mix=mix), 8)))
    assert "mix=0" in screen.page.url


def test_what_is_left_out_is_a_chip_that_can_be_taken_away(screen: Screen, searcher: Searcher) -> None:
    screen.open("#q=boat")
    field = screen.field("Without: words to subtract")
    field.fill("red")
    field.press("Enter")
    screen.shows(_titles(searcher.search(Query(("boat",), minus_texts=("red",)), 8)))
    assert field.input_value() == ""
    screen.button("Take away: without red").click()
    screen.shows(_titles(searcher.search("boat", 8)))


def test_filters_are_made_of_the_columns(screen: Screen, searcher: Searcher) -> None:
    screen.open("#q=round")
    screen.button("Filter", exact=True).click()
    screen.page.get_by_label("kind", exact=True).select_option("lamp")
    screen.shows(_titles(searcher.search("round", 8, where=["kind=lamp"])))
    screen.page.get_by_label("year from").fill("2009")
    screen.page.get_by_label("year from").press("Enter")
    wanted = searcher.search("round", 60, where=["kind=lamp", "year>=2009"])
    screen.shows(_titles(wanted, 60)[:8])
    assert screen.status().startswith(f"{wanted.total} pictures")
    screen.button("Take away: only kind: lamp").click()
    screen.shows(_titles(searcher.search("round", 8, where=["year>=2009"])))
    screen.page.get_by_label("how sure").select_option("0.8")
    screen.until(lambda: screen.searches()[-1]["min_relevance"], 0.8)


def test_nothing_matches_is_said_aloud_and_the_nearest_are_kept_behind_a_button(
    browser: Any, shop: Path, server: Running
) -> None:
    searcher = Searcher(shop / "run")
    searcher.__dict__["calibration"] = NEVER
    with running(searcher) as other:
        screen = Screen(browser, other.address).open("#q=a+helicopter&where=kind%3Dcup")
        screen.page.get_by_role("heading", name="Nothing here is likely to match").wait_for()
        assert screen.titles() == []
        screen.button("Show the nearest anyway").click()
        screen.shows(_titles(searcher.search("a helicopter", 8, where=["kind=cup"])))
        assert "grayscale" in screen.page.locator(".tile img").first.evaluate("e => getComputedStyle(e).filter")
        screen.open("#q=a+submarine&where=kind%3Dcup").button("Drop the filters").click()
        screen.until(lambda: screen.searches()[-1]["where"], [])
        screen.close()


def test_scrolling_brings_more_and_no_more_than_is_near(screen: Screen, searcher: Searcher) -> None:
    screen.open()
    assert screen.status() == "300 pictures"
    seen = screen.titles()
    assert len(screen.searches()) == 1
    first = [each for each in screen.asked if "/thumbnail" in each.url]
    assert len(first) < 60
    for _ in range(200):
        if len(seen) == COUNT:
            break
        screen.page.mouse.wheel(0, 300)
        screen.page.wait_for_timeout(50)
        screen.settle()
        assert len(screen.titles()) < 150
        seen += [title for title in screen.titles() if title not in seen]
    assert seen == [_caption(searcher, row) for row in range(COUNT)]
    assert [each["offset"] for each in screen.searches()] == [0, 60, 120, 180, 240]


def test_rows_are_of_one_height_and_as_wide_as_the_page_and_never_jump(screen: Screen) -> None:
    places = """tiles => tiles.map(tile => { const r = tile.getBoundingClientRect();
        return [r.left, r.top, r.right, tile.querySelector('img').getBoundingClientRect().height]; })"""
    screen.page.route(re.compile("/thumbnail"), lambda route: None)  # no picture has come yet
    screen.page.goto(screen.address)
    screen.page.locator(".tile").first.wait_for()
    before = screen.page.eval_on_selector_all(".tile", places)
    screen.page.unroute(re.compile("/thumbnail"))
    screen.open()
    after = screen.page.eval_on_selector_all(".tile", places)
    assert before == after[: len(before)]
    width = screen.page.locator("#grid").bounding_box()
    rows: dict[float, list[list[float]]] = {}
    for place in after:
        rows.setdefault(place[1], []).append(place)
    assert len(rows) > 3
    for row in rows.values():
        assert len({place[3] for place in row}) == 1
        assert row[0][0] == width["x"]
        assert row[-1][2] == pytest.approx(width["x"] + width["width"], abs=2)


def test_back_and_forward_and_a_copied_link_bring_a_search_again(
    screen: Screen, browser: Any, searcher: Searcher
) -> None:
    screen.open()
    box = screen.page.get_by_role("searchbox")
    for words in ("cup", "bird"):
        box.fill(words)
        box.press("Enter")
        screen.shows(_titles(searcher.search(words, 8)))
    screen.page.go_back()
    screen.shows(_titles(searcher.search("cup", 8)))
    assert box.input_value() == "cup"
    screen.page.go_back()
    screen.until(screen.status, "300 pictures")
    screen.page.go_forward()
    screen.page.go_forward()
    screen.shows(_titles(searcher.search("bird", 8)))
    screen.field("Without: words to subtract").fill("a lamp & a boat")
    screen.field("Without: words to subtract").press("Enter")
    wanted = _titles(searcher.search(Query(("bird",), minus_texts=("a lamp & a boat",)), 8))
    screen.shows(wanted)
    other = Screen(browser, screen.address)
    other.page.goto(screen.page.url)
    other.shows(wanted)
    other.close()


def test_the_large_view_tells_all_and_goes_through_the_results_by_keys(screen: Screen, searcher: Searcher) -> None:
    wanted = searcher.search("a red cup", 3)
    page = screen.open("#q=a+red+cup").page
    tile = page.locator(".tile a").nth(1)
    tile.click()
    view = page.get_by_role("dialog")
    item = wanted[1].item
    screen.until(lambda: view.get_by_role("heading").inner_text(), item["id"])
    told = view.inner_text()
    assert item["path"] in told
    assert item["captions"][0] in told
    assert f"Matches: {in_words(wanted[1].relevance or 0.0)}" in told
    assert f"see={item['id']}" in page.url
    page.keyboard.press("ArrowRight")
    screen.until(lambda: view.get_by_role("heading").inner_text(), wanted[2].item["id"])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    screen.until(lambda: view.get_by_role("heading").inner_text(), wanted[0].item["id"])
    assert page.locator("#view-back").is_disabled()
    page.keyboard.press("Escape")
    screen.until(view.is_visible, False)
    assert page.evaluate("document.activeElement.querySelector('img').alt") == wanted[0].item["captions"][0]
    assert "see=" not in page.url
    assert len(screen.searches()) == 1  # nothing was asked anew


def test_a_link_to_a_picture_opens_it_and_back_closes_it(screen: Screen, searcher: Searcher) -> None:
    page = screen.open("#see=250").page
    view = page.get_by_role("dialog")
    screen.until(lambda: view.get_by_role("heading").inner_text(), "250.png")
    screen.button("Close").click()
    screen.until(view.is_visible, False)
    page.locator(".tile a").first.click()
    screen.until(view.is_visible, True)
    page.go_back()
    screen.until(view.is_visible, False)


def test_where_it_lies_is_copied(screen: Screen, searcher: Searcher) -> None:
    page = screen.open("#see=3").page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=screen.address)
    screen.button("Copy").click()
    screen.button("Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == searcher.index.item(3)["path"]
    page.context.clear_permissions()


def test_why_lays_a_map_over_the_picture_and_each_word_has_its_own(screen: Screen) -> None:
    page = screen.open("#q=a+red+cup").page
    page.locator(".tile a").first.click()
    screen.button("Why?").click()
    whole = page.get_by_role("button", name="a red cup", exact=True)
    whole.wait_for()
    laid = page.locator("#view-map")
    screen.until(lambda: whole.get_attribute("aria-pressed"), "true")
    assert laid.get_attribute("src").startswith("data:image/png;base64,")
    words = page.locator(".word")
    assert [words.nth(i).locator("span").first.inner_text() for i in range(3)] == ["a", "red", "cup"]
    shares = [float(text.strip(" %").replace("−", "")) for text in words.locator("small").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=2)
    before = laid.get_attribute("src")
    words.nth(1).click()
    screen.until(lambda: words.nth(1).get_attribute("aria-pressed"), "true")
    assert laid.get_attribute("alt") == "Where the picture speaks for: red"
    assert laid.get_attribute("src") != before
    words.nth(2).click()
    screen.until(lambda: words.nth(2).get_attribute("aria-pressed"), "true")
    asked = [each.post_data_json["by_word"] for each in screen.asked if each.url.endswith("/explain")]
    assert asked == [False, True]  # all words' maps came together
    words.nth(2).click()
    screen.until(laid.is_visible, False)


def test_similar_ones_are_a_search_of_its_own_that_words_can_join(screen: Screen, searcher: Searcher) -> None:
    page = screen.open("#q=lamp&see=40").page
    screen.button("Similar ones").click()
    screen.shows(_titles(searcher.like(40, 8)))
    assert "#like=040.png" in page.url
    page.get_by_role("searchbox").fill("boat")
    page.get_by_role("slider", name="Weight of picture against words").wait_for()
    screen.button("Take away the picture: a picture of the collection").click()
    screen.shows(_titles(searcher.search("boat", 8)))


def test_everything_goes_by_keyboard(screen: Screen, searcher: Searcher) -> None:
    page = screen.open("#q=old+chair").page
    focused = "document.activeElement.closest('.tile')?.dataset.index ?? document.activeElement.id"
    page.get_by_role("button", name="Filter", exact=True).focus()
    page.keyboard.press("/")
    assert page.evaluate(focused) == "words"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == "0"
    for key, place in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1"), ("Home", "0")):
        page.keyboard.press(key)
        assert page.evaluate(focused) == place
    page.keyboard.press("ArrowDown")
    below = page.locator(".tile:focus-within").bounding_box()
    first = page.locator(".tile").first.bounding_box()
    assert below["y"] > first["y"] + first["height"] - 30
    assert abs(below["x"] - first["x"]) < first["width"]
    for _ in range(12):
        page.keyboard.press("ArrowDown")
    here = page.locator(".tile:focus-within").bounding_box()
    assert here["y"] >= 0
    assert here["y"] + here["height"] <= 800
    page.keyboard.press("Enter")
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    screen.until(page.get_by_role("dialog").is_visible, False)
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == "words"
    page.keyboard.press("Tab")
    assert "outline" in page.evaluate("getComputedStyle(document.activeElement).cssText") or page.evaluate(
        "getComputedStyle(document.activeElement).outlineStyle !== 'none'"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_it_fits_and_can_be_read_and_everything_has_a_name(
    screen: Screen, shop: Path, width: int, scheme: str, tmp_path: Path
) -> None:
    def check(name: str) -> None:
        screen.settle()
        screen.page.screenshot(path=str(tmp_path / f"{name}.png"))
        assert (name, screen.wider(), screen.faint(), screen.nameless()) == (name, [], [], [])
        assert screen.page.locator("img:not([alt])").count() == 0
        assert screen.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")

    screen.open(width=width, scheme=scheme)
    check("collection")
    screen.open("#q=a+red+cup&and=round&minus=boat&where=kind%3Dcup", width=width, scheme=scheme)
    screen.bring("paste", "7.png", _photo(shop, 7))
    screen.button("Filter", exact=True).click()
    check("mixed")
    screen.open("#q=a+red+cup&see=5", width=width, scheme=scheme)
    screen.button("Why?").click()
    screen.page.locator(".word").first.wait_for()
    check("view")
    screen.open("#tab=folders", width=width, scheme=scheme)
    check("folders")
    screen.open("#tab=report", width=width, scheme=scheme)
    check("report")


def test_a_folder_is_looked_through_with_progress_and_the_report_has_its_tab(screen: Screen) -> None:
    page = screen.open().page
    page.get_by_role("link", name="Folders").click()
    screen.button("Look for new pictures").click()
    page.get_by_text("3 new pictures.").wait_for()
    screen.until(lambda: len(screen.searches()), 2)  # what is shown is asked anew
    page.get_by_role("link", name="Report").click()
    page.frame_locator("iframe").get_by_role("heading", name="What it bought").wait_for()
    page.get_by_role("link", name="Search").click()
    screen.until(screen.status, "300 pictures")


def test_what_goes_wrong_is_told_in_the_servers_words(browser: Any, server: Running, searcher: Searcher) -> None:
    screen = Screen(browser, server.address).open("#q=boat&where=colour%3Dred")
    alert = screen.page.get_by_role("alert")
    screen.until(lambda: "No item has a column 'colour'." in alert.inner_text(), True)
    screen.button("Take away: only colour: red").click()
    screen.shows(_titles(searcher.search("boat", 8)))
    assert not alert.is_visible()
    screen.bring("drop", "notes.png", base64.b64encode(b"no picture").decode())
    screen.until(alert.is_visible, True)
    screen.button("Take away the picture: notes.png").click()
    screen.page.context.set_offline(True)
    screen.page.get_by_role("searchbox").fill("lamp")
    screen.until(lambda: "The server does not answer." in alert.inner_text(), True)
    screen.page.context.set_offline(False)
    screen.button("Try again").click()
    screen.shows(_titles(searcher.search("lamp", 8)))
    screen.close(allowed="Failed to load resource")


def test_a_picture_that_is_gone_keeps_its_place(browser: Any, server: Running, searcher: Searcher, shop: Path) -> None:
    screen = Screen(browser, server.address)
    file = shop / "photos" / "001.png"
    kept = file.read_bytes()
    file.unlink()
    try:
        screen.open()
        gone = screen.page.locator(".tile img").nth(1)
        assert gone.get_attribute("alt") == _caption(searcher, 1)
        assert gone.evaluate("image => image.naturalWidth") > 0  # the server sends a picture that says so
    finally:
        file.write_bytes(kept)
    screen.close(allowed="Failed to load resource")


@pytest.mark.parametrize("box", ["And: further words", "Without: words to subtract", "Words to search with"])
def test_the_first_click_on_filter_after_typing_opens_it(screen: Screen, box: str) -> None:
    screen.open("#q=bird")
    screen.field(box).fill("a red cup")
    place = screen.button("Filter", exact=True).bounding_box()
    screen.page.mouse.click(place["x"] + place["width"] - 3, place["y"] + place["height"] / 2)
    screen.until(screen.page.locator("#filters").is_visible, True)
    assert screen.button("Filter", exact=True).bounding_box() == place


def test_the_tab_of_a_report_says_where_there_is_none(browser: Any, shop: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(shop / "run", tmp_path / "bare")
    (bare / "report.html").unlink()
    with running(bare) as other:
        screen = Screen(browser, other.address).open("#tab=report")
        screen.page.get_by_role("heading", name="No report").wait_for()
        assert screen.page.locator("iframe").count() == 0
        assert not screen.page.get_by_role("link", name="Report").is_visible()
        screen.close()
