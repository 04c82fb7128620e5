"""The report in a real browser: quiet console, no request, nothing wider than the window, at desk and on the phone."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deixis.apps.eval.chart import Chart, ChartPoint, Series
from deixis.apps.eval.comparison import write_page
from deixis.apps.report.report import Example, render

pytestmark = pytest.mark.slow

_WIDER = """() => [...document.querySelectorAll('body *')].filter(e =>
    !e.closest('.scroll, pre, .store') && e.getBoundingClientRect().right > innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 80))"""
_UNDRAWN = """() => Promise.all([...document.querySelectorAll('image')].map(e => {
    const image = new Image(); image.src = e.getAttribute('href'); return image.decode().then(() => 0, () => 1); }))
    .then(found => found.reduce((a, b) => a + b, 0))"""


def _open(browser: Any, path: Path, width: int, scheme: str) -> tuple[Any, list[str], list[str]]:
    page = browser.new_page()
    troubles: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.goto(path.as_uri(), wait_until="load")
    return page, troubles, requests


@pytest.mark.parametrize("kind", ["captions", "labels"])
def test_the_report_opens_quietly_and_fits_every_window(
    browser: Any,
    result: dict[str, Any],
    labels_result: dict[str, Any],
    gallery: list[Example],
    tmp_path: Path,
    kind: str,
) -> None:
    full = kind == "captions"
    path = render(result if full else labels_result, gallery if full else [], tmp_path / "report.html")
    for width in (1280, 360):
        for scheme in ("light", "dark"):
            page, troubles, requests = _open(browser, path, width, scheme)
            assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), (width, page.evaluate(_WIDER))
            assert page.evaluate(_WIDER) == []
            assert page.evaluate("document.compatMode") == "CSS1Compat"
            assert troubles == []
            assert requests
            assert all(url.startswith(("file:", "data:")) for url in requests)
            page.screenshot(path=str(tmp_path / f"{kind}-{width}-{scheme}.png"), full_page=True)
            page.close()


def test_every_picture_is_drawn_and_named(
    browser: Any, result: dict[str, Any], gallery: list[Example], tmp_path: Path
) -> None:
    page, _, _ = _open(browser, render(result, gallery, tmp_path / "report.html"), 1280, "light")
    assert page.locator("svg.thumb").count() > 20
    assert page.locator("img:not([alt]), svg[role=img]:not([aria-label]), svg[role=img][aria-label='']").count() == 0
    assert page.locator("svg:not([role=img]):not([aria-hidden=true])").count() == 0
    assert page.evaluate(_UNDRAWN) == 0
    assert page.evaluate("[...document.querySelectorAll('use')].every(e => e.getBBox().width > 0)")


def test_dark_and_light_follow_the_reader_and_paper_is_white(
    browser: Any, labels_result: dict[str, Any], tmp_path: Path
) -> None:
    page, _, _ = _open(browser, render(labels_result, [], tmp_path / "report.html"), 1280, "light")
    ground = "getComputedStyle(document.documentElement).getPropertyValue('--ground').trim()"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(ground) != light
    page.emulate_media(color_scheme="dark", media="print")
    assert page.evaluate(ground) == light
    assert page.locator("nav").is_hidden()


def _edges(box: Any) -> tuple[float, float]:
    """How much darker or lighter the first and last columns of a box are than its ground, where nothing is written."""
    with Image.open(io.BytesIO(box.screenshot())) as image:
        values = np.asarray(image.convert("L"), np.float64)
    ground = np.median(values)
    return tuple(abs(np.median(values[:, column]) - ground) for column in (1, -2))  # type: ignore[return-value]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_table_that_goes_on_beyond_its_edge_is_shaded_there(
    browser: Any, result: dict[str, Any], tmp_path: Path, scheme: str
) -> None:
    page, _, _ = _open(browser, render(result, [], tmp_path / "report.html"), 360, scheme)
    box = page.get_by_role("region", name="Measures before and after")
    assert box.evaluate("e => e.scrollWidth > e.clientWidth + 40")
    left, right = _edges(box)
    assert left < 1 < 3 < right
    box.evaluate("e => e.scrollTo(e.scrollWidth, 0)")
    left, right = _edges(box)
    assert right < 1 < 3 < left
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_a_page_of_eval_is_dark_where_its_reader_is_and_its_chart_too(
    browser: Any, tmp_path: Path, scheme: str, width: int
) -> None:
    series = [Series(f"model {i}", [ChartPoint(0.2 * j, 0.1 * i + 0.05 * j) for j in range(5)]) for i in range(8)]
    chart = Chart("Recall <b>", "shots", [(0.0, "1"), (1.0, "16")], series)
    head = ["model", *(f"measure {i}" for i in range(9))]
    write_page(tmp_path, "Retrieval", chart.svg(), [("Table", head, [head] * 3)], ["A note."], {"seed": 0})
    page, troubles, _ = _open(browser, tmp_path / "table.html", width, scheme)
    assert page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")
    assert troubles == []
    light = (
        """e => (getComputedStyle(e).%s.match(/[\\d.]+/g) ?? []).slice(0, 3).reduce((a, b) => a + Number(b), 0) / 3"""
    )
    for where in ("body", "svg rect"):
        value = page.locator(where).first.evaluate(light % ("backgroundColor" if where == "body" else "fill"))
        assert (value > 200) == (scheme == "light")
    text = page.locator("svg text").first.evaluate(light % "fill")
    assert (text < 100) == (scheme == "light")
    page.screenshot(path=str(tmp_path / f"eval-{width}-{scheme}.png"))
    page.close()
