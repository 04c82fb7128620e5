"""The report in a real browser: quiet console, no request, nothing wider than the window, at desk and on the phone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
