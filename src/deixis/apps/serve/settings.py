"""What can be set of `deixis serve`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["ServeSettings"]


@dataclasses.dataclass(frozen=True)
class ServeSettings:
    """Where a run is served, to whom, and how much is taken from a client.

    Attributes:
        host: the address that is listened on. By any but this machine's own, other machines are let in, and --token is
            needed.
        port: the port; 0 takes a free one and prints it.
        token: what clients must show; `auto` makes one up and prints it. Others can read what stands on a command line.
        folder: folders that clients may have looked through for new pictures; no other is ever read.
        body_mb: the most megabytes in one request.
        megapixels: the most in one picture that is sent.
        letters: the most in one text.
        queue: requests that may wait for the model; others are told to come again.
        seconds: that a request may take to be sent, and to be answered.
    """

    host: str = "127.0.0.1"
    port: int = 7878
    token: str = ""
    folder: tuple[str, ...] = ()
    body_mb: float = 32.0
    megapixels: float = 50.0
    letters: int = 2000
    queue: int = 256
    seconds: float = 30.0
