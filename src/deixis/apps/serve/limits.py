"""How much a client may send, and how long it may take: bytes are counted as they come, whatever was announced."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deixis.apps.serve.errors import RequestError, answer
from deixis.inputs.images import ImageError
from deixis.inputs.opening import opened

__all__ = ["CLASSES", "IMAGES", "MOST", "TEXTS", "Intake", "picture_bytes", "require_letters"]

TEXTS, IMAGES = 64, 16
"""The most texts and pictures in one request."""

CLASSES = 16
"""The most classes that pixels are told apart by."""

MOST = 200
"""The most answers at a time."""

_BODIES = 8  # largest bodies that are held at a time, over all clients
_DRAINED = 4  # times the limit that is read and thrown away, so that a client that sends too much hears why


class Intake:
    """Reads each body before anything else is done, and ends what takes too long.

    Args:
        app: what comes behind.
        body: bytes of a body.
        seconds: to send it in, and to be answered in.
    """

    def __init__(self, app: ASGIApp, *, body: int, seconds: float) -> None:
        self._app, self._body, self._seconds = app, body, seconds
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chunks: list[bytes] = []
        try:
            if scope["method"] != "GET" and not await self._read(scope, receive, chunks):
                return
            await self._answered(scope, _replayed(b"".join(chunks), receive), send)
        except RequestError as refused:
            response = answer(refused.status, refused.found, refused.cure, {**refused.headers, "Connection": "close"})
            await response(scope, receive, send)
        finally:
            self._held -= sum(map(len, chunks))

    async def _read(self, scope: Scope, receive: Receive, chunks: list[bytes]) -> bool:
        """Fills `chunks`; False where the client has gone."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._fill(receive, chunks)
        except TimeoutError as error:
            raise RequestError(
                408, f"The body was not there after {self._seconds:g} seconds.", "Send less, or send it faster."
            ) from error

    async def _fill(self, receive: Receive, chunks: list[bytes]) -> bool:
        count, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return False
            part, more = message.get("body", b""), message.get("more_body", False)
            count += len(part)
            if count > self._body:
                await self._drain(receive, more)
                raise RequestError(
                    413,
                    f"The body has more than {self._body / 1e6:g} MB.",
                    "Send fewer or smaller pictures, or start the server with a higher --body-mb.",
                )
            if self._held + len(part) > _BODIES * self._body:
                raise RequestError(503, "Too much is being sent at this moment.", "Ask again.", {"Retry-After": "1"})
            self._held += len(part)
            chunks.append(part)
        return True

    async def _drain(self, receive: Receive, more: bool) -> None:
        left = _DRAINED * self._body
        while more and left > 0:
            message = await receive()
            left -= len(message.get("body", b""))
            more = message.get("more_body", False)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        try:
            async with asyncio.timeout(self._seconds) as limit:

                async def noted(message: Message) -> None:
                    nonlocal begun
                    begun = True
                    await send(message)
                    # A long file may take longer, as long as it is read.
                    limit.reschedule(asyncio.get_running_loop().time() + self._seconds)

                await self._app(scope, receive, noted)
        except TimeoutError as error:
            if begun:  # a client that does not read its answer; the connection is closed
                return
            raise RequestError(
                503,
                f"It was not done after {self._seconds:g} seconds.",
                "Ask for less, or later.",
                {"Retry-After": "5"},
            ) from error


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body as one message, then what the client does."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return next_message


def require_letters(texts: Sequence[str], letters: int) -> None:
    """Refuses a text that is too long, or can't be written down.

    Args:
        texts: that a client sent.
        letters: the most in one.

    Raises:
        Refused: and how long it is.
    """
    for text in texts:
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise RequestError(422, "A text holds half a character (a lone surrogate).", "Send it in UTF-8.")
        if len(text) > letters:
            raise RequestError(
                422,
                f"A text has {len(text):,} letters; the limit is {letters:,}.",
                "Shorten it: models read a few dozen words at the most.",
            )


def picture_bytes(sent: str, pixels: int) -> bytes:
    """The file that was sent as base64, or as a data address; its header is read, and no pixel.

    Args:
        sent: what the client sent.
        pixels: the most width x height.

    Raises:
        Refused: it is no base64, or has too many pixels.
        ImageError: it is no picture.
    """
    tail = sent.partition(",")[2] if sent.startswith("data:") else sent
    try:
        data = base64.b64decode(tail, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(422, "A picture is no base64.", "Send the bytes of its file in base64.") from error
    try:
        with opened(data, max_pixels=pixels):
            return data
    except ImageError as error:
        if error.reason != "too many pixels":
            raise
        raise RequestError(
            413, error.found, "Make it smaller, or start the server with a higher --megapixels."
        ) from error
