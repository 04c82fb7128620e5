"""Connections that say nothing, or read nothing while the server ends, are closed, and those that are too many: uvicorn
leaves them open, and with too many of them refuses who was there before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import socket

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["Connection", "Server", "raise_file_limit"]

_FULL = json.dumps(
    {"error": {"found": "Too many connections are open.", "cure": "Close some, then ask again."}}, separators=(",", ":")
).encode()
_REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 5\r\n"
_REFUSAL += b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_FULL), _FULL)
_LINGERS = 0.5  # seconds in which a client that was refused can read why
_FILES = 65536


def raise_file_limit() -> None:
    """Lets this process open as many files and connections as the system allows it; some begin with 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wished = _FILES if hard == resource.RLIM_INFINITY else min(hard, _FILES)
    if soft < wished:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wished, hard))


class Connection(H11Protocol):
    """A connection that must send the head of a request in time. Bodies have a limit of their own."""

    seconds = 30.0
    """To send it in."""

    most = 1000
    """Connections at a time; a further one is told so and closed."""

    _refused = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begins to wait, or refuses."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._refused = True
            self.connections.discard(self)
            transport.write(_REFUSAL)
            self._timer = self.loop.call_later(_LINGERS, transport.close)
        else:
            self._wait()

    def data_received(self, data: bytes) -> None:
        """Waits on for the rest of a head; once that is there, no more."""
        if self._refused:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._rest()
        elif self._timer is None:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._rest()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.seconds, self._late)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._timer = None
        if self.conn.their_state is h11.IDLE and (self.cycle is None or self.cycle.response_complete):
            self.transport.close()


class Server(uvicorn.Server):
    """A server that leaves no connection behind when it has ended, whatever its clients do."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; then those connections that the time of grace did not see closed are cut."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the loop tells a connection that it is lost at its next turn, and closes it there
