"""Who may ask: this machine's own pages and programs; from beyond it, those who hold the token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from deixis.apps.serve.access import chosen_token, is_loopback
from deixis.apps.serve.settings import ServeSettings
from deixis.errors import DeixisError
from tests.apps.serve.serving import Running, problem, running
from tests.commands import deixis

TOKEN = "a-token-of-enough-letters"


@pytest.fixture(scope="module")
def guarded(collection: Path) -> Iterator[Running]:
    with running(collection / "run", token=TOKEN) as started:
        yield started


def test_beyond_this_machine_there_is_no_serving_without_a_token(collection: Path) -> None:
    code, out, err = deixis("serve", collection / "run", "--host", "0.0.0.0", "--port", "0")
    assert (code, out) == (2, "")
    assert "--token auto" in err
    for host in ("0.0.0.0", "::", "192.168.0.7", "example.org"):
        with pytest.raises(DeixisError, match="can be reached from other machines"):
            chosen_token("", host)
    with pytest.raises(DeixisError, match="a header can't hold"):
        chosen_token("ein Schlüssel mit Wörtern", "127.0.0.1")
    with pytest.raises(DeixisError, match="can be guessed"):
        chosen_token("short", "0.0.0.0")
    assert len(chosen_token("auto", "0.0.0.0")) >= 32
    assert chosen_token("auto", "::") != chosen_token("auto", "::")
    assert chosen_token("", "127.0.0.1") == ""


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.1", False),
        ("localhost.example.org", False),
        ("127.0.0.1.example.org", False),
        ("", False),
    ],
)
def test_which_addresses_are_this_machine_s(host: str, own: bool) -> None:
    assert is_loopback(host) is own


@pytest.mark.slow
def test_without_the_token_nothing_is_told(guarded: Running) -> None:
    for path in ("/", "/run", "/health", "/metrics", "/openapi.json", "/static/page.js", "/items/1/thumbnail", "/x"):
        answer = guarded.get(path)
        assert "token" in problem(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    for wrong in ("Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", "Bearer", "Bearer ä".encode("latin-1")):
        assert problem(guarded.get("/run", headers={"Authorization": wrong}), 401)
    assert problem(guarded.get(f"/run?token={TOKEN}"), 401), (
        "an address is written into logs; the page's alone takes it"
    )
    assert problem(guarded.post("/search", {}), 401)


@pytest.mark.slow
def test_with_the_token_all_is_told(guarded: Running) -> None:
    assert guarded.get("/run", headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/run", headers={"Authorization": f"bearer {TOKEN}", "Host": "example.org"}).status_code == 200


@pytest.mark.slow
def test_a_browser_shows_the_token_once_and_keeps_a_cookie_that_no_script_or_other_site_can_use(
    guarded: Running,
) -> None:
    with httpx.Client(base_url=guarded.address) as browser:
        asked = browser.get("/", headers={"Accept": "text/html"})
        assert (asked.status_code, "<form" in asked.text) == (401, True)
        assert browser.get("/?token=wrong", headers={"Accept": "text/html"}).status_code == 401
        welcome = browser.get(f"/?token={TOKEN}")
        assert (welcome.status_code, welcome.headers["location"]) == (303, "/")
        cookie = welcome.headers["set-cookie"]
        assert "httponly" in cookie.lower()
        assert "samesite=strict" in cookie.lower()
        assert TOKEN not in cookie
        assert browser.get("/").status_code == browser.get("/run").status_code == 200
    for forged in ("deixis=1", f"deixis-00000000={TOKEN}", cookie.split("=")[0] + f"={TOKEN}", 'a="', "\xff=1"):
        assert problem(guarded.get("/run", headers={"Cookie": forged.encode("latin-1")}), 401)


def test_a_name_that_is_not_this_machine_s_is_not_answered_against_dns_rebinding(server: Running) -> None:
    for host in ("example.org", "example.org:80", "127.0.0.1.example.org", "[::", "", "localhost@example.org"):
        assert "names of its own machine" in problem(server.get("/run", headers={"Host": host}), 403)
    for host in ("localhost", "localhost:1234", "127.0.0.1", "[::1]:80", "page.localhost"):
        assert server.get("/run", headers={"Host": host}).status_code == 200


FOREIGN: tuple[dict[str, str], ...] = (
    {"Origin": "https://example.org"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "http://[::"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


def test_what_a_page_of_another_site_posts_is_not_done(server: Running) -> None:
    for headers in (*FOREIGN, {"Origin": server.address.replace("127.0.0.1", "localhost")}):
        assert "another site" in problem(server.post("/search", {}, headers=headers), 403)
    own = {"Origin": server.address, "Sec-Fetch-Site": "same-origin"}
    assert server.post("/search", {}, headers=own).status_code == 200
    answer = server.get("/run", headers={"Origin": "https://example.org"})
    assert answer.headers.get("access-control-allow-origin") is None


@pytest.mark.slow
def test_nor_is_it_done_for_one_that_holds_the_token(guarded: Running) -> None:
    for headers in FOREIGN:
        shown = {**headers, "Authorization": f"Bearer {TOKEN}"}
        assert "another site" in problem(guarded.post("/search", {}, headers=shown), 403)


def test_the_default_is_this_machine_alone() -> None:
    assert is_loopback(ServeSettings().host)
