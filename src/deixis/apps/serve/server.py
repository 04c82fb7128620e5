"""Starting and ending: the application with all that stands before it, the socket, and the signals."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType

import torch
import uvicorn
from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deixis.apps.common.console import Reporter
from deixis.apps.common.formatting import counted
from deixis.apps.index import index
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve import errors
from deixis.apps.serve.access import PAGE_POLICY, Access, chosen_token
from deixis.apps.serve.connections import Connection, Server, raise_file_limit
from deixis.apps.serve.jobs import Update
from deixis.apps.serve.limits import Intake
from deixis.apps.serve.metrics import Metrics
from deixis.apps.serve.routes import (
    draft_routes,
    export_routes,
    label_routes,
    model_routes,
    page_routes,
    region_routes,
    word_routes,
)
from deixis.apps.serve.schemas import Failure
from deixis.apps.serve.server_state import ServerState
from deixis.apps.serve.settings import ServeSettings
from deixis.errors import DeixisError

__all__ = ["create_app", "listening", "serve", "server_config"]

_LAST_PORT = 65535
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KEPT = 60  # seconds that an idle connection is kept: longer than clients do, or one might ask while it is closed
_GRACE = 1  # second for requests under way, once it is to end
_HEADERS = {
    "Content-Security-Policy": PAGE_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_STATUSES = {
    400: "The body can't be read.",
    401: "The token is missing.",
    403: "The request came from another site or host name.",
    404: "Not found.",
    409: "Somebody else has changed it meanwhile.",
    408: "The body took too long.",
    413: "The body, or a picture, is too large.",
    422: "Something in it is not as it must be.",
    429: "One at a time.",
    503: "Too much to do, or it took too long.",
}


class ObservabilityMiddleware:
    """Outermost: counts and times each answer, gives it the headers that keep browsers careful, and lets no error out
    as it is."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 0

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:  # the server ends, and has waited long enough
            if not status:
                await errors.answer(503, "The server ends.", "Ask when it is there again.")(scope, receive, noted)
        except Exception:
            logging.getLogger("deixis.serve").exception("%s %s", scope["method"], scope["path"])
            if status:
                raise
            response = errors.answer(500, "This server has a fault.", "Its owner finds more where it was started.")
            await response(scope, receive, noted)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.answered(route, status, time.perf_counter() - begun)


def create_app(
    searcher: Searcher, settings: ServeSettings, *, token: str = "", update: Update | None = None
) -> FastAPI:
    """The application.

    Args:
        searcher: what is served; its model is loaded here, where it was not yet.
        settings: limits and folders.
        token: that clients must show; empty: none.
        update: brings the index up to date with a folder; by default as `deixis update` does.
    """
    desk = ServerState(searcher, settings, update or _updater(searcher))
    desk.explainer, desk.grounder, desk.segmenter  # noqa: B018  models are loaded before the first request, not by it

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        batches = asyncio.create_task(desk.batcher.run())
        warm = asyncio.create_task(desk.readers(_warmed))
        try:
            yield
        finally:
            batches.cancel()
            warm.cancel()
            desk.close()

    app = FastAPI(
        title="deixis",
        description="Search pictures by words and by pictures; embed; explain; ground.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        responses={status: {"model": Failure, "description": text} for status, text in _STATUSES.items()},
    )
    app.state.desk = desk
    app.include_router(page_routes.router)
    app.include_router(model_routes.router)
    app.include_router(export_routes.router)
    app.include_router(label_routes.router)
    app.include_router(draft_routes.router)
    app.include_router(region_routes.router)
    app.include_router(word_routes.router)
    errors.install(app)
    # The last is the first that a request comes to.
    app.add_middleware(Intake, body=int(settings.body_mb * 1e6), seconds=settings.seconds)
    app.add_middleware(Access, token=token)
    app.add_middleware(ObservabilityMiddleware, metrics=desk.metrics)
    return app


def _warmed() -> None:
    """Brings in what torch imports for its first gradient, so that the first explanation does not wait for it."""
    one = torch.ones(1, requires_grad=True)
    torch.autograd.grad((one * one).sum(), one)


def server_config(app: FastAPI) -> uvicorn.Config:
    """How uvicorn serves it: HTTP alone, no word of itself, nothing believed that a proxy would say."""
    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        lifespan="on",
        log_level="critical",  # what goes wrong in the application is told by the door
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEPT,
        timeout_graceful_shutdown=_GRACE,
    )


def serve(run: str | Path, settings: ServeSettings) -> int:
    """Serves a run until SIGINT, SIGTERM or SIGHUP.

    Args:
        run: folder that `deixis adapt` or `deixis index` wrote.
        settings: address, token, limits.

    Returns:
        The exit code: 128 and the number of the signal.

    Raises:
        DeixisError: the run can't be served, the address can't be had, or it needs a token.
    """
    with settings.active(everywhere=True):
        return _serve(run, settings)


def _serve(run: str | Path, settings: ServeSettings) -> int:
    raise_file_limit()
    talk = Reporter()
    token = chosen_token(settings.token, settings.host)
    folders = [Path(each) for each in settings.folder]
    missing = next((each for each in folders if not each.exists()), None)
    if missing is not None:
        raise DeixisError(f"There is no folder {missing}.", "Check the path of --folder.")
    searcher = Searcher(run)
    with contextlib.closing(listening(settings.host, settings.port)) as bound:
        app = create_app(searcher, settings, token=token)
        address = _address(settings.host, bound.getsockname()[1])

        def ready() -> None:
            pictures = counted(len(searcher.index), "picture")
            talk.result(f"Serving {run} ({pictures}) at {address}/{f'?token={token}' * bool(token)}")
            talk.say("Ctrl-C ends it.")
            sys.stdout.flush()

        server = _Server(server_config(app), ready)
        server.run([bound])
    talk.say("Stopped.")
    return 128 + server.ended_by


class _Server(Server):
    """Tells when it listens, and ends by a signal without an exception."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready
        self.ended_by = 0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, and tells when it is done."""
        await super().startup(sockets)
        if self.started:
            self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Takes the signals that end it, and gives back the handlers that were there; none is raised again after."""
        ending = [number for number in _ENDING if signal.getsignal(number) is not signal.SIG_IGN]  # as nohup asks
        kept = {number: signal.signal(number, self.handle_exit) for number in ending}
        try:
            yield
        finally:
            for number, handler in kept.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends it at the next step; told again, at once."""
        self.force_exit = self.should_exit
        self.should_exit, self.ended_by = True, sig


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Args:
        host: name or address.
        port: 0 takes a free one.

    Raises:
        DeixisError: it can't be had.
    """
    if not 0 <= port <= _LAST_PORT:
        raise DeixisError(f"There is no port {port}.", f"Give one from 0 (a free one) to {_LAST_PORT}.")
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError, OverflowError) as error:
        raise DeixisError(f"There is no address {host}, port {port}.", "Check --host and --port.") from error
    # With the protocol told, asyncio turns Nagle's algorithm off, which costs 40 ms an answer.
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(place)
        bound.listen()  # or another server could still take it, and be told so only later
    except OSError as error:
        bound.close()
        raise _taken(host, port, error) from error
    return bound


def _taken(host: str, port: int, error: OSError) -> DeixisError:
    if error.errno == errno.EADDRINUSE:
        return DeixisError(f"Port {port} of {host} is in use.", "Give another --port; --port 0 chooses a free one.")
    if error.errno == errno.EACCES:
        return DeixisError(f"Port {port} is not for users.", "Give a --port above 1023; --port 0 chooses a free one.")
    return DeixisError(f"{host}, port {port}, can't be listened on: {error.strerror}.", "Check --host and --port.")


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _updater(searcher: Searcher) -> Update:
    """As `deixis update` does it: what has gone from the folder stays in the index."""

    def update(data: str, progress: Callable[[int, int], None]) -> str:
        return index.update(searcher.run, data, progress=progress).sentence

    return update
