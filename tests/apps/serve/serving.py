"""A server over a real socket, in a thread of the test's process."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.connections import Server
from deixis.apps.serve.jobs import Update
from deixis.apps.serve.server import create_app, listening, server_config
from deixis.apps.serve.server_state import ServerState
from deixis.apps.serve.settings import ServeSettings

__all__ = ["SMALL", "Running", "encoded", "problem", "running", "sent"]

SMALL = ServeSettings(body_mb=1.0, megapixels=1.0, letters=500, seconds=10.0)
"""Limits that are reached with little."""


@dataclasses.dataclass(frozen=True)
class Running:
    """A server that listens, what it works with, and a client of it."""

    address: str
    desk: ServerState
    client: httpx.Client

    def get(self, path: str, **more: Any) -> httpx.Response:
        return self.client.get(path, **more)

    def post(self, path: str, body: Any, **more: Any) -> httpx.Response:
        return self.client.post(path, json=body, **more)

    def found(self, **query: Any) -> list[dict[str, Any]]:
        answer = self.post("/search", query)
        assert answer.status_code == 200, answer.text
        return answer.json()["found"]


@contextlib.contextmanager
def running(
    run: Path | Searcher, settings: ServeSettings = SMALL, *, token: str = "", update: Update | None = None
) -> Iterator[Running]:
    """Serves a run at a free port of this machine until the block is left."""
    searcher = run if isinstance(run, Searcher) else Searcher(run)
    app = create_app(searcher, settings, token=token, update=update)
    with contextlib.closing(listening("127.0.0.1", 0)) as bound:
        server = Server(server_config(app))
        thread = threading.Thread(target=server.run, args=([bound],), daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                yield Running(address, app.state.desk, client)
        finally:
            server.should_exit = True
            thread.join(10)


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def sent(picture: Image.Image, kind: str = "PNG", **options: Any) -> str:
    """A picture as a client sends it."""
    with io.BytesIO() as memory:
        picture.save(memory, kind, **options)
        return encoded(memory.getvalue())


def problem(answer: httpx.Response, status: int) -> str:
    """What an error says, in the one form that errors have; nothing of the inside is told."""
    assert answer.status_code == status, answer.text
    told = answer.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"found", "cure"}
    assert "Traceback" not in answer.text
    assert 'File "' not in answer.text
    assert answer.headers["content-type"] == "application/json"
    return f"{told['error']['found']} {told['error']['cure']}"
