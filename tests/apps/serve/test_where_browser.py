"""Where things are, in a real browser: boxes over a picture and over results."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.index.index import index
from tests.apps.serve.screen import Screen
from tests.apps.serve.serving import SMALL, Running, running
from tests.capable import Grounder
from tests.commands import own_cache

pytestmark = pytest.mark.slow

RED, BLUE, GREY = (220, 20, 20), (20, 20, 220), (128, 128, 128)
SIZES = {"wide": (400, 100), "tall": (100, 400), "plain": (200, 150), "tiny": (24, 24)}
TURNED = 6
"""The EXIF orientation of `turned.jpg`: as it is stored, its left is shown above."""


def _photo(width: int, height: int) -> Image.Image:
    """A red square at the left, a blue one at the right."""
    picture, side = Image.new("RGB", (width, height), GREY), min(width, height) // 2
    picture.paste(RED, (0, 0, side, side))
    picture.paste(BLUE, (width - side, height - side, width, height))
    return picture


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server of pictures of all shapes whose model can locate colours."""
    folder = tmp_path_factory.mktemp("where")
    (folder / "photos").mkdir()
    for name, size in SIZES.items():
        _photo(*size).save(folder / "photos" / f"{name}.png")
    exif = Image.Exif()
    exif[0x0112] = TURNED
    _photo(200, 100).save(folder / "photos" / "turned.jpg", exif=exif, quality=100, subsampling=0)
    with own_cache(folder / "cache"), contextlib.ExitStack() as stack:
        index(str(folder / "photos"), folder / "run", "tiny", quiet=True)
        with pytest.MonkeyPatch.context() as patch:  # models are loaded at the start
            patch.setattr("deixis.apps.serve.server_state.open_method", lambda model, capability: Grounder())
            started = stack.enter_context(running(folder / "run", dataclasses.replace(SMALL, ground="a-run")))
        yield started


@pytest.fixture
def screen(browser: Any, server: Running) -> Iterator[Screen]:
    screen = Screen(browser, server.address)
    yield screen
    screen.close()


def _open(screen: Screen, name: str, words: str = "red") -> Any:
    screen.open(f"#q={words}")
    screen.page.locator(f".tile:has-text('{name}') a").click()
    screen.page.wait_for_selector("#view-large:not([hidden])")
    return screen.page


@pytest.mark.parametrize("name", [*SIZES, "turned"])
def test_a_box_lies_on_what_it_names_in_pictures_of_any_shape(screen: Screen, name: str) -> None:
    page = _open(screen, name)
    screen.button("Where?").click()
    page.wait_for_selector("#view-boxes g")
    picture = page.evaluate(
        """() => {
            const look = document.getElementById("view-large"), box = look.getBoundingClientRect();
            const scale = Math.min(box.width / look.naturalWidth, box.height / look.naturalHeight);
            const width = look.naturalWidth * scale, height = look.naturalHeight * scale;
            return [box.x + (box.width - width) / 2, box.y + (box.height - height) / 2, width, height];
        }"""
    )
    drawn = page.locator("#view-boxes g rect:not(.rim)").first.bounding_box()
    wide, tall = SIZES.get(name, (100, 200))
    side = min(wide, tall) / 2
    left = wide - side if name == "turned" else 0
    wanted = [picture[0] + left / wide * picture[2], picture[1], side / wide * picture[2], side / tall * picture[3]]
    found = [drawn["x"], drawn["y"], drawn["width"], drawn["height"]]
    assert found == pytest.approx(wanted, abs=0.08 * max(picture[2:]) + 4)


def test_box_and_phrase_light_up_together_and_are_read_aloud(screen: Screen) -> None:
    page = _open(screen, "plain")
    screen.button("Where?").click()
    page.wait_for_selector("#view-boxes g")
    line = page.locator("#where-found button").first
    assert "red, score 0.90: 0 % to" in line.get_attribute("aria-label")
    line.hover()
    assert page.locator("#view-boxes g.lit").count() == 1
    page.locator("#view-name").hover()
    assert page.locator(".lit").count() == 0
    page.locator("#view-boxes g rect:not(.rim)").first.hover()
    assert page.locator("#where-found .lit").count() == 1
    page.locator("#view-boxes g rect:not(.rim)").first.click()
    page.locator("#view-name").hover()
    assert line.get_attribute("aria-pressed") == "true"
    assert page.locator(".lit").count() == 2
    assert screen.nameless() == []
    assert screen.faint() == []
    assert screen.wider() == []


def test_other_words_than_those_of_the_search_can_be_located(screen: Screen) -> None:
    page = _open(screen, "plain", words="")
    screen.button("Where?").click()
    page.keyboard.type("blue")
    page.keyboard.press("Enter")
    page.wait_for_selector("#view-boxes g")
    assert page.locator("#where-found bdi").first.inner_text() == "blue"
    page.keyboard.press("Escape")
    assert not page.locator("#view").is_visible()


def test_results_show_where_the_query_is_until_the_next_search(screen: Screen) -> None:
    page = screen.open("#q=red").page
    screen.button("View").click()
    page.get_by_label("Where?").check()
    screen.until(lambda: page.locator(".tile svg.boxes").count(), 5)
    sent = [each.post_data_json["text"] for each in screen.asked if each.url.endswith("/ground")]
    assert sent == ["red"] * 5
    rows = [each.post_data_json["row"] for each in screen.asked if each.url.endswith("/ground")]
    names = {
        item["row"]: item["name"]
        for item in screen.page.evaluate(
            "() => fetch('search', {method: 'POST', "
            "headers: {'Content-Type': 'application/json'}, body: '{\"texts\": [\"red\"]}'}).then(r => r.json())"
        )["found"]
    }
    assert [names[row] for row in rows] == screen.titles()
    with screen.altered("ground", lambda route: None):  # hangs
        page.locator("#words").fill("blue")
        screen.until(lambda: page.locator(".tile svg.boxes").count(), 0)
        screen.until(lambda: page.locator(".tile").count(), 5)
        page.locator("#words").fill("")
    screen.until(lambda: page.locator(".tile svg.boxes").count(), 0)
    page.reload()
    screen.settle()
    assert page.locator("#hits-on").is_checked()
    page.locator("#hits-on").evaluate("each => each.click()")


def test_without_a_model_that_can_there_is_nothing_to_press(browser: Any, collection: Path) -> None:
    with running(collection / "run") as plain:
        screen = Screen(browser, plain.address).open("#q=red")
        screen.button("View").click()
        assert not screen.page.get_by_label("Where?").is_visible()
        screen.page.locator(".tile a").first.click()
        screen.page.wait_for_selector("#view-large:not([hidden])")
        assert not screen.page.locator("#view-where").is_visible()
        screen.close()
