"""Runs a package client (pip, apt-get, npm), and gives up where the network has gone silent."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from deixis.errors import DeixisError

__all__ = ["SILENCE", "run_client"]

_PR_SET_PDEATHSIG = 1

SILENCE = 20.0
"""Seconds without a byte after which a download is given up."""


def run_client(
    command: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None, *, silence: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a client that downloads into `folder`, which is also its working folder and where its temporary files lie.

    Args:
        command: the program and its arguments.
        folder: what comes has to appear in it, or below, while it comes.
        environment: variables beside those of this process.
        silence: seconds without a byte that are accepted; `SILENCE` where None.

    Returns:
        Exit status and output.

    Raises:
        DeixisError: for `silence` seconds nothing came.
    """
    limit = SILENCE if silence is None else silence
    variables = {**os.environ, "LC_ALL": "C", "TMPDIR": str(folder), **(environment or {})}
    process = subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=_end_with_parent(),
    )
    size, since = 0, time.monotonic()
    try:
        while True:
            try:
                out, err = process.communicate(timeout=min(0.5, limit / 4))
                return subprocess.CompletedProcess(command, process.returncode, out, err)
            except subprocess.TimeoutExpired:
                pass
            if (now := _bytes_below(folder)) != size:
                size, since = now, time.monotonic()
            elif time.monotonic() - since > limit:
                raise DeixisError(
                    f"{Path(command[0]).name} has received nothing for {limit:.0f} seconds.",
                    "Check the network and proxy, then run the same command again: it goes on with what came whole.",
                )
    finally:
        _end(process)


def _end_with_parent() -> Callable[[], None] | None:
    """What a child does first, so that it does not outlive this process when that is killed; nothing but on Linux."""
    if not sys.platform.startswith("linux"):
        return None
    prctl, parent = ctypes.CDLL(None).prctl, os.getpid()  # found here: a child may only call what is there

    def follow() -> None:
        prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() != parent:  # it was killed before
            os._exit(1)

    return follow


def _bytes_below(folder: Path) -> int:
    """The size of all files in `folder` and below; one that vanishes meanwhile counts nothing."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the client with the processes it has started, where it still runs."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
