"""Results that people can use, in a real browser: columns, sorting, selecting, exports, zoom, the cut."""

from __future__ import annotations

import csv
import dataclasses
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.index.index import index
from deixis.apps.search.searcher import Searcher
from deixis.engine.evaluation.calibration import Calibration
from deixis.ops.calibration import Logistic
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import Running, running
from tests.commands import own_cache
from tests.pictures import COLOURS, picture

pytestmark = pytest.mark.slow

COUNT = 60
CHANCES = Calibration(Logistic((0.0, 2.5), -2.5), None, Logistic((1.0,), 0.0), COUNT, COUNT, 0.0, threshold=0.0)
ODD = "two\nlines <b>bold<.png"
HOSTILE = '<img src=x onerror="document.title=1"> & <i>x</i>'
LARGE = (2000, 1500)


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`run`, an index of pictures with what a shop knows of them, hundreds of columns and hostile names among it."""
    folder = tmp_path_factory.mktemp("catalogue")
    rng = random.Random(0)
    rows = []
    for i in range(COUNT):
        name = f"{'cups' if i % 2 else 'plates'}/{ODD if i == 3 else f'{i:02}.png'}"
        picture(folder / "shop" / name, list(COLOURS.values())[i % 6], rng)
        note = "word " * 1000 if i == 5 else HOSTILE if i == 3 else f"note {i}"
        rows.append([name, HOSTILE if i == 3 else f"thing {i}", f"SKU-{1000 + i}", (i * 37) % COUNT + 0.5])
        rows[-1] += [f"2024-{1 + i % 12:02}-15", note, *(f"{i}.{j}" for j in range(500))]
    with Image.open(folder / "shop" / "plates" / "08.png") as image:
        image.resize(LARGE).save(folder / "shop" / "plates" / "08.png")
    with open(folder / "shop" / "table.csv", "w", newline="", encoding="utf-8") as file:
        head = ["image", "caption", "sku", "price", "date", "note", *(f"c{j}" for j in range(500))]
        csv.writer(file).writerows([head, *rows])
    with own_cache(folder / "cache"):
        index(str(folder / "shop" / "table.csv"), folder / "run", "tiny", quiet=True)
        yield folder


@pytest.fixture(scope="module")
def searcher(catalogue: Path) -> Searcher:
    """It, with chances as if they had been measured by a model that can't tell when nothing matches."""
    searcher = Searcher(catalogue / "run")
    searcher.__dict__["calibration"] = CHANCES
    return searcher


@pytest.fixture(scope="module")
def server(searcher: Searcher) -> Iterator[Running]:
    with running(searcher) as started:
        yield started


def _cells(screen: Screen, count: int) -> list[str]:
    return screen.page.locator(".cell").all_inner_texts()[:count]


def test_columns_stand_under_results_and_a_link_keeps_which(screen: Screen) -> None:
    page = screen.open("#show=sku&show=price").page
    screen.until(lambda: _cells(screen, 4), ["sku SKU-1000", "price 0.5", "sku SKU-1001", "price 37.5"])
    assert page.locator(".what").first.inner_text() == "thing 0"
    screen.button("View", exact=True).click()
    page.get_by_label("Under each picture").select_option("date")
    screen.until(lambda: _cells(screen, 3), ["sku SKU-1000", "price 0.5", "date 2024-01-15"])
    screen.button("Do not show sku").click()
    screen.until(lambda: _cells(screen, 2), ["price 0.5", "date 2024-01-15"])
    assert page.url.endswith("#show=price&show=date")
    page.reload()
    screen.until(lambda: _cells(screen, 2), ["price 0.5", "date 2024-01-15"])


def test_columns_sort_the_collection_and_the_likely_results(screen: Screen, searcher: Searcher) -> None:
    page = screen.open("#show=price").page
    screen.button("View", exact=True).click()
    page.get_by_label("Sort by").select_option("price")
    screen.until(lambda: _cells(screen, 3), ["price 0.5", "price 1.5", "price 2.5"])
    assert screen.status() == "60 pictures, sorted by price"
    screen.button("low to high").click()
    screen.until(lambda: _cells(screen, 3), ["price 59.5", "price 58.5", "price 57.5"])
    page.get_by_role("searchbox").fill("a red cup")
    found = searcher.search("a red cup", COUNT)
    likely = sorted((hit.item["price"] for hit in found.found[: found.likely]), key=float, reverse=True)
    shown = [f"price {price}" for price in likely][:20]
    screen.until(lambda: _cells(screen, 20), shown)
    assert screen.status() == f"The best {found.likely} pictures, sorted by price."
    assert "sort=-price" in page.url


def test_numbers_days_and_words_each_have_their_filter_and_hundreds_of_columns_do_not_drown_it(screen: Screen) -> None:
    page = screen.open("#show=sku").page
    screen.button("Filter", exact=True).click()
    assert page.locator("#filters label").count() < 20
    page.get_by_label("sku with", exact=True).fill("100")
    page.get_by_label("sku with", exact=True).press("Enter")
    screen.until(screen.status, "10 pictures pass the filters")
    page.get_by_label("date from", exact=True).fill("2024-03-15")
    page.get_by_label("date from", exact=True).press("Enter")
    page.get_by_label("date to", exact=True).fill("2024-04-15")
    page.get_by_label("date to", exact=True).press("Enter")
    screen.until(lambda: _cells(screen, 9), ["sku SKU-1002", "sku SKU-1003"])
    page.get_by_label("price from", exact=True).fill("30")
    page.get_by_label("price from", exact=True).press("Enter")
    screen.until(screen.status, "1 picture passes the filters")
    screen.button("Take away: only date to 2024-04-15").click()
    screen.until(screen.status, "4 pictures pass the filters")
    page.get_by_label("Another column").select_option("c40")
    page.get_by_label("c40 from", exact=True).fill("9")
    page.get_by_label("c40 from", exact=True).press("Enter")
    screen.until(lambda: "only c40 from 9" in screen.page.locator("#chips").inner_text().replace("\n", " "), True)


def test_names_captions_and_columns_are_text_whatever_is_in_them(screen: Screen) -> None:
    page = screen.open("#show=note").page
    assert page.locator(".what").nth(3).inner_text() == HOSTILE
    page.locator(".tile a").nth(3).click()
    view = page.get_by_role("dialog")
    screen.until(lambda: view.get_by_role("heading").inner_text(), "two\u21b5lines <b>bold<.png")
    screen.until(lambda: view.locator("dd").nth(4).inner_text(), HOSTILE)
    assert page.evaluate("document.title") == "run: search pictures"
    assert page.locator("#view img[src=x], .tile img[src=x], b").count() == 0
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    long = view.locator("dd.long")
    long.wait_for()
    assert long.inner_text().split() == ["word"] * 1000
    assert long.bounding_box()["height"] < 200
    assert view.locator("dd").count() == 12
    screen.button("All 505 columns").click()
    assert view.locator("dd").count() == 505


def test_several_are_selected_by_mouse_and_keys_and_their_paths_copied(
    screen: Screen, searcher: Searcher, catalogue: Path
) -> None:
    page = screen.open().page
    bar = page.get_by_role("region", name="Selected pictures")
    assert not bar.is_visible()
    page.locator(".tile").first.hover()
    page.get_by_label("Select: thing 0").check()
    screen.until(lambda: page.locator("#marks").inner_text(), "1 picture selected")
    assert not page.get_by_role("dialog").is_visible()
    page.locator(".tile a").nth(2).click(modifiers=["Shift"])
    screen.until(lambda: page.locator("#marks").inner_text(), "3 pictures selected")
    page.locator(".tile a").nth(2).focus()
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    screen.until(lambda: page.locator("#marks").inner_text(), "3 pictures selected")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=screen.address)
    screen.button("Copy paths").click()
    screen.button("Copied").wait_for()
    paths = [searcher.index.item(row)["path"] for row in (0, 1)]
    odd = f"$'{catalogue}/shop/cups/two\\nlines <b>bold<.png'"
    assert page.evaluate("navigator.clipboard.readText()").split("\n") == [*paths, odd]
    page.context.clear_permissions()
    page.get_by_role("searchbox").fill("red")
    screen.settle()
    assert page.locator("#marks").inner_text() == "3 pictures selected"  # another search adds to them
    page.locator(".tile a").first.focus()
    page.keyboard.press("Escape")
    screen.until(bar.is_visible, False)


def test_a_selection_is_saved_as_a_table_or_as_the_files(screen: Screen, searcher: Searcher, tmp_path: Path) -> None:
    page = screen.open().page
    for place in (0, 3):
        page.locator(".tile a").nth(place).focus()
        page.keyboard.press(" ")
    with page.expect_download() as table:
        page.get_by_role("link", name="Export csv").click()
    table.value.save_as(tmp_path / "pictures.csv")
    with open(tmp_path / "pictures.csv", newline="", encoding="utf-8") as file:
        first, odd = csv.DictReader(file)
    assert first["path"] == searcher.index.item(0)["path"]
    assert (first["caption"], first["sku"], first["c499"]) == ("thing 0", "SKU-1000", "0.499")
    assert (odd["id"], odd["caption"]) == (f"cups/{ODD}", HOSTILE)
    with page.expect_download() as archive:
        page.get_by_role("link", name="Export zip").click()
    archive.value.save_as(tmp_path / "pictures.zip")
    with zipfile.ZipFile(tmp_path / "pictures.zip") as opened:
        assert opened.testzip() is None
        assert opened.namelist() == ["pictures.csv", "plates/00.png", "cups/two_lines _b_bold_.png"]
        assert opened.read("plates/00.png") == Path(first["path"]).read_bytes()


def test_a_picture_is_seen_pixel_by_pixel_and_never_larger_than_it_is(screen: Screen) -> None:
    page = screen.open("#see=plates/08.png").page
    large = page.locator("#view-large")
    natural = "image => image.complete && !image.hidden && [image.naturalWidth, image.naturalHeight]"
    shown = "image => { const box = image.getBoundingClientRect(); return [box.width, box.height]; }"
    screen.until(page.locator("#view-size").inner_text, "2000 × 1500 pixels")
    screen.until(lambda: large.evaluate(natural), [1600, 1200])
    screen.button("Full size").click()
    screen.until(lambda: large.evaluate(natural), list(LARGE))
    assert large.evaluate(shown) == list(LARGE)
    frame = page.locator("#view-frame")
    before = frame.evaluate("e => [e.scrollLeft, e.scrollTop]")
    page.mouse.move(400, 400)
    page.mouse.down()
    page.mouse.move(300, 350)
    page.mouse.up()
    assert frame.evaluate("e => [e.scrollLeft, e.scrollTop]") == [before[0] + 100, before[1] + 50]
    page.keyboard.press("Escape")
    assert screen.button("Full size").is_visible()
    assert page.get_by_role("dialog").is_visible()
    page.keyboard.press("z")
    screen.until(lambda: large.evaluate(shown), list(LARGE))
    page.keyboard.press("z")
    small = screen.open("#see=plates/00.png").page
    width, height = (int(each) for each in small.locator("#view-size").inner_text().split()[::2][:2])
    screen.until(lambda: small.locator("#view-large").evaluate(shown), [width, height])
    assert not small.locator("#view-zoom").is_visible()


def test_what_hardly_matches_is_folded_away_and_a_model_that_cannot_tell_says_so(
    screen: Screen, searcher: Searcher
) -> None:
    page = screen.open("#q=a+red+cup").page
    found = searcher.search("a red cup", COUNT)
    assert 0 < found.likely < COUNT
    assert found[found.likely - 1].relevance >= 0.05 > found[found.likely].relevance
    screen.button(f"{COUNT - found.likely} more that hardly match").wait_for()
    assert page.locator("#about").inner_text() == (
        "This model can't reliably tell when nothing matches, so it never says so."
    )
    screen.button(f"{COUNT - found.likely} more that hardly match").click()
    assert not page.locator("#fold").is_visible()
    first = page.evaluate("document.activeElement.querySelector('img').alt")
    assert first == found[found.likely].item["captions"][0]


def test_where_the_model_can_tell_gibberish_gets_nothing_likely(browser: Any, catalogue: Path) -> None:
    searcher = Searcher(catalogue / "run")
    sure = Calibration(Logistic((0.0, 0.1), -9.0), None, Logistic((1.0,), 9.0), COUNT, COUNT, 0.0, threshold=1e-9)
    searcher.__dict__["calibration"] = sure
    with running(searcher) as other:
        screen = Screen(browser, other.address).open("#q=xqzzk+wvvb")
        screen.page.get_by_role("heading", name="Nothing here is likely to match").wait_for()
        screen.button("Show the nearest anyway").click()
        screen.until(lambda: len(screen.titles()) > 20, True)
        assert not screen.page.locator("#about").is_visible()
        screen.close()
    searcher.__dict__["calibration"] = dataclasses.replace(sure, threshold=0.0)
    assert not searcher.search("xqzzk wvvb", 3).nothing


def test_the_slider_makes_rows_higher_and_is_remembered(screen: Screen) -> None:
    page = screen.open().page
    height = "e => e.getBoundingClientRect().height"
    before = page.locator(".tile img").first.evaluate(height)
    screen.button("View", exact=True).click()
    page.get_by_label("Size").fill("400")
    screen.until(lambda: page.locator(".tile img").first.evaluate(height) > 1.5 * before, True)
    page.reload()
    screen.settle()
    assert page.locator(".tile img").first.evaluate(height) > 1.5 * before
    page.evaluate("localStorage.clear()")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_results_with_columns_fit_and_can_be_read_and_everything_has_a_name(
    screen: Screen, width: int, scheme: str
) -> None:
    def check(name: str) -> None:
        screen.settle()
        assert (name, screen.faint(), screen.nameless()) == (name, [], [])
        assert screen.page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")

    screen.open("#q=a+red+cup&show=sku&show=price&show=folder", width=width, scheme=scheme)
    screen.button("View", exact=True).click()
    screen.button("Filter", exact=True).click()
    check("panels")
    screen.page.locator(".tile a").first.focus()
    screen.page.keyboard.press(" ")
    check("selection")
    screen.page.keyboard.press("Escape")
    screen.open("#see=plates/08.png", width=width, scheme=scheme)
    check("detail")
    screen.button("Full size").click()
    check("zoom")
    screen.open("#q=cup&pictures=2", width=width, scheme=scheme)
    check("lost")
