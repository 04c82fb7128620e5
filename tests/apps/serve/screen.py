"""The page in a real browser, watched: what it says on its console, whom it asks, what it shows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Screen"]

_FILE = """async ({kind, target, name, data}) => {
    const bytes = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], name, {type: 'image/png'}));
    const told = {bubbles: true, cancelable: true};
    const event = kind === 'paste' ? new ClipboardEvent('paste', {...told, clipboardData: carried})
        : new DragEvent(kind, {...told, dataTransfer: carried});
    document.querySelector(target).dispatchEvent(event);
}"""
_NAMED = (
    *("button", "link", "textbox", "searchbox", "slider", "combobox", "spinbutton"),
    *("image", "Iframe", "dialog", "progressbar"),
)
_PATIENCE = 60
"""Seconds; a busy machine has taken more than 15 for what takes one."""
_ANSWERED = "#grid[aria-busy=false]"
_TITLES = "() => [...document.querySelectorAll('.tile img')].map(image => image.alt)"
_WIDER = """() => [...document.querySelectorAll('body *')].filter(e => !e.closest('[hidden], datalist, select') &&
    e.getClientRects().length && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 90))"""
# text whose colour and ground are less than 4.5 apart; disabled controls are exempt, and pictures bring their own
_FAINT = """() => {
    const light = colour => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
            .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const ground = e => {
        for (; e; e = e.parentElement) {
            const colour = getComputedStyle(e).backgroundColor;
            if (!/rgba\\(.*, 0\\)|transparent/.test(colour)) return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const faint = [];
    const look = (e, colour) => {
        const [a, b] = [light(colour), light(ground(e))].sort((x, y) => y - x), contrast = (a + 0.05) / (b + 0.05);
        if (contrast < 4.5) faint.push([e.outerHTML.slice(0, 80), contrast]);
    };
    for (const e of document.querySelectorAll('body *')) {
        if (!e.getClientRects().length || e.closest(':disabled, option, #drop')) continue;
        const written = [...e.childNodes].some(node => node.nodeType === 3 && node.data.trim());
        if (written || e.value) look(e, getComputedStyle(e).color);
        if (e.placeholder) look(e, getComputedStyle(e, '::placeholder').color);
    }
    return faint;
}"""


class Screen:
    """A page of a server.

    Args:
        browser: a context of playwright's.
        address: of the server.
    """

    def __init__(self, browser: Any, address: str) -> None:
        self.page = browser.new_page()
        self.address = address
        self.said: list[str] = []
        self.asked: list[Any] = []
        self.under_way: set[Any] = set()
        self.page.set_default_timeout(1000 * _PATIENCE)
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", self._ask)
        for event in ("requestfinished", "requestfailed"):
            self.page.on(event, lambda request: self.under_way.discard(request))

    def open(self, query: str = "", *, width: int = 1280, scheme: str = "light") -> Screen:
        """Goes to a query, and waits until it is answered."""
        self.page.set_viewport_size({"width": width, "height": 800 if width > 600 else 740})
        self.page.emulate_media(color_scheme=scheme)
        self.page.goto(f"{self.address}/{query}")
        self.settle()
        if not self.page.locator(_ANSWERED).count():  # on a busy machine the scripts may begin after half a second
            self.page.wait_for_selector(_ANSWERED, state="attached")
            self.settle()
        return self

    def _ask(self, request: Any) -> None:
        self.asked.append(request)
        self.under_way.add(request)

    def settle(self) -> None:
        """Waits until nothing has been under way for a while.

        Playwright's own state `networkidle` is not reached where the document of a frame is exchanged meanwhile.
        """
        end = time.monotonic() + _PATIENCE
        quiet = 0
        while quiet < 4:
            assert time.monotonic() < end, f"under way: {[each.url for each in self.under_way]}"
            self.page.wait_for_timeout(30)
            quiet = 0 if self.under_way else quiet + 1

    def titles(self, count: int | None = None) -> list[str]:
        """What the pictures are called that are in the document, in order."""
        return self.page.evaluate(_TITLES)[:count]

    def until(self, found: Callable[[], Any], wanted: Any) -> None:
        """Waits for what is found to be what is wanted."""
        end = time.monotonic() + _PATIENCE
        while (last := found()) != wanted:
            assert time.monotonic() < end, f"{last!r} is not {wanted!r}"
            self.page.wait_for_timeout(30)  # what has happened is told during calls only

    def shows(self, titles: list[str]) -> None:
        """Waits for these to be the first pictures."""
        self.until(lambda: self.titles(len(titles)), titles)

    def status(self) -> str:
        """The line that says how many there are."""
        return self.page.locator("#status").inner_text()

    def searches(self) -> list[dict[str, Any]]:
        """The searches that were sent so far."""
        return [each.post_data_json for each in self.asked if each.url.endswith("/search")]

    def field(self, name: str) -> Any:
        """A control by its name."""
        return self.page.get_by_label(name, exact=False)

    def button(self, name: str, *, exact: bool = False) -> Any:
        """A button by its name."""
        return self.page.get_by_role("button", name=name, exact=exact)

    def bring(self, kind: str, name: str, data: str) -> None:
        """Drops (`drop`) or pastes (`paste`) a file, given in base64."""
        target = "#grid" if kind == "drop" else "body"
        self.page.evaluate(_FILE, {"kind": kind, "target": target, "name": name, "data": data})

    def wider(self) -> list[str]:
        """What reaches beyond the window."""
        return self.page.evaluate(_WIDER)

    def faint(self) -> list[Any]:
        """Text that is hard to read, with its contrast."""
        return self.page.evaluate(_FAINT)

    def nameless(self) -> list[str]:
        """Roles of controls and pictures without a name, as assistive technology is told of them."""
        session = self.page.context.new_cdp_session(self.page)
        nodes = session.send("Accessibility.getFullAXTree")["nodes"]
        session.detach()
        found = [
            (node["role"]["value"], node.get("name", {}).get("value", "")) for node in nodes if not node["ignored"]
        ]
        return [role for role, name in found if role in _NAMED and not name.strip()]

    @contextlib.contextmanager
    def altered(self, path: str, change: Callable[[Any], None]) -> Iterator[None]:
        """Requests whose address ends so are handled by `change(route)`."""
        self.page.route(f"**/{path}", change)
        yield
        self.page.unroute(f"**/{path}")

    def close(self, *, allowed: str = "") -> None:
        """Nothing was said on the console (but what is allowed), and no other host was asked."""
        foreign = [each.url for each in self.asked if not each.url.startswith((self.address, "data:", "blob:"))]
        said = [each for each in self.said if not allowed or allowed not in each]
        self.page.close()
        assert foreign == []
        assert said == []
