"""Who may ask: on this machine its own pages and programs, from beyond it those who hold the token.

A page of another site that is open in the owner's browser is a stranger: it is kept out by the names that the server
answers to (against DNS rebinding), by the origin of what is posted, and by the headers that go with each answer.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deixis.apps.serve.errors import RequestError, answer
from deixis.errors import DeixisError

__all__ = ["PAGE_POLICY", "REPORT_POLICY", "Access", "chosen_token", "is_loopback"]

PAGE_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
"""What the page may load: what this server gives, and pictures that it made itself. No script or style inside it."""

REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'; sandbox"
)
"""A report holds all that it shows, and no script; the page may show it in a frame."""

_LEAST = 16
_YEAR = 365 * 24 * 3600
_ASK = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>deixis</title>
<h1>This page needs its token</h1>
<p>It was printed where the server was started.</p>
<form><label>Token <input name="token" type="password" autocomplete="off" required></label> <button>Open</button></form>
</html>"""


def is_loopback(host: str) -> bool:
    """Whether a host or address is this machine, and reached from it alone."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def chosen_token(token: str, host: str) -> str:
    """The token that clients must show; empty where none is needed.

    Args:
        token: as the owner gave it; `auto` makes one up.
        host: that is listened on.

    Raises:
        DeixisError: none was given where one is needed, or one that can be guessed.
    """
    if token == "auto":
        return secrets.token_urlsafe(24)
    if not all("!" <= letter <= "~" for letter in token):
        raise DeixisError("The token has characters that a header can't hold.", "Give ASCII letters, digits and signs.")
    beyond = not is_loopback(host)
    if beyond and not token:
        raise DeixisError(
            f"{host} can be reached from other machines, and whoever reaches it could search your pictures.",
            "Require a token (--token auto generates one), or listen on 127.0.0.1.",
        )
    if beyond and len(token) < _LEAST:
        raise DeixisError(
            f"The token has {len(token)} characters, and can be guessed.",
            f"Give {_LEAST} or more, or --token auto, which generates one.",
        )
    return token


class Access:
    """Lets in whoever may ask.

    Without a token, the server answers to names of this machine only. With one it answers to any name, since a page
    of another site does not know the token, and its browser does not send the cookie along.

    Args:
        app: what comes behind.
        token: that must be shown; empty: none.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token
        # The cookie is not the token itself, and two servers on one machine don't overwrite each other's.
        self._session = hmac.new(token.encode(), b"cookie", hashlib.sha256).hexdigest()
        self._cookie = f"deixis-{hmac.new(token.encode(), b'name', hashlib.sha256).hexdigest()[:8]}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        response = self._refusal(scope, Headers(scope=scope))
        await (response or self._app)(scope, receive, send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """What is answered in place of the application, if anything."""
        host = headers.get("host", "")
        try:
            if not self._token:
                _require_own_name(host)
            _require_own_origin(scope["method"], host, headers)
        except RequestError as refused:
            return answer(refused.status, refused.found, refused.cure)
        return self._without_token(scope, headers) if self._token else None

    def _without_token(self, scope: Scope, headers: Headers) -> Response | None:
        shown = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        front = scope["path"] == "/" and scope["method"] == "GET"
        if front and shown and _same(shown, self._token):
            return self._welcome()
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(bearer.strip(), self._token):
            return None
        if _same(self._shown_cookie(headers), self._session):
            return None
        if front and "text/html" in headers.get("accept", ""):
            return HTMLResponse(_ASK, 401, {"WWW-Authenticate": "Bearer"})
        return answer(
            401,
            "The token is missing or wrong.",
            "Send `Authorization: Bearer TOKEN`, or open the address that the server printed when it started.",
            {"WWW-Authenticate": "Bearer"},
        )

    def _welcome(self) -> Response:
        """Keeps the browser known, and takes the token out of its address bar and history."""
        response = RedirectResponse("/", 303)
        response.set_cookie(self._cookie, self._session, max_age=_YEAR, httponly=True, samesite="strict")
        return response

    def _shown_cookie(self, headers: Headers) -> str:
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self._cookie)
        except CookieError:
            return ""
        return morsel.value if morsel else ""


def _same(shown: str, wanted: str) -> bool:
    """Whether two secrets are equal, in a time that does not tell how much of them is."""
    return hmac.compare_digest(shown.encode("utf-8", "surrogatepass"), wanted.encode("utf-8", "surrogatepass"))


def _split(address: str) -> tuple[str, str]:
    """Host with port, and the host's name; empty where there is none."""
    try:
        parts = urlsplit(address)
        return parts.netloc, parts.hostname or ""
    except ValueError:
        return "", ""


def _require_own_name(host: str) -> None:
    if not is_loopback(_split(f"//{host}")[1]):
        raise RequestError(
            403,
            "This server answers to the names of its own machine only.",
            "Ask 127.0.0.1 or localhost; or start it with --token, and it answers to any name.",
        )


def _require_own_origin(method: str, host: str, headers: Headers) -> None:
    if method in ("GET", "HEAD"):
        return
    origin = headers.get("origin")
    foreign = origin is not None and _split(origin)[0] != host
    if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise RequestError(
            403, "The request came from a page of another site.", "Ask from the server's own page, or a program."
        )
