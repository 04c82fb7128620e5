"""The command line as a user meets it: in this process, where that is enough, or in one of its own."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

__all__ = ["QUICK", "SOURCE", "Answer", "deixis", "own_cache", "start"]

QUICK = ("--model", "tiny", "--splits", "2", "--no-controls")
"""Flags for `deixis adapt` where the run itself is not what is tested."""

SOURCE = Path(__file__).parents[1] / "src"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Answer(NamedTuple):
    """What a command gave back."""

    code: int
    out: str
    err: str


@contextlib.contextmanager
def _handlers_kept() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def deixis(*arguments: object) -> Answer:
    """Runs the command in this process."""
    from deixis.cli import main

    out, err = io.StringIO(), io.StringIO()
    said = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with _handlers_kept(), said[0], said[1], pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return Answer(int(left.value.code or 0), out.getvalue(), err.getvalue())


def start(
    *arguments: object, cwd: Path, stdout: int = subprocess.PIPE, cache: Path | None = None, begun: Path | None = None
) -> subprocess.Popen[str]:
    """Starts the command in a process of its own; without a cache told, with the one that is set here.

    `begun` is a file that is there once Python itself has started.
    """
    place = {} if cache is None else {"DEIXIS_CACHE": str(cache)}
    code = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from deixis.cli import main; main()"
    if begun is not None:
        code = f"open({str(begun)!r}, 'w').close(); {code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=cwd,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **place, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"},
    )


@contextlib.contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """A cache for fixtures that live longer than a test, and therefore have not the one of the test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEIXIS_CACHE", str(folder))
        yield
