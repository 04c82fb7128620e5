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
def _as_in_a_terminal() -> Iterator[None]:
    """Signals as in a terminal, whatever started the tests: `nohup` and shells in the background have some ignored."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def deixis(*arguments: object) -> Answer:
    """Runs the command in this process."""
    from deixis.cli import main

    out, err = io.StringIO(), io.StringIO()
    said = contextlib.redirect_stdout(out), contextlib.redirect_stderr(err)
    with _as_in_a_terminal(), said[0], said[1], pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    return Answer(int(left.value.code or 0), out.getvalue(), err.getvalue())


_START = """
import signal, sys
for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, {source!r})
{first}
from deixis.cli import main
main()
"""

_AT_IMPORT = """
class Stop:
    def find_spec(self, name, *rest):
        if name == {module!r}:
            try:
                signal.raise_signal({number:d})
            except KeyboardInterrupt as stopped:
                if {lost}:  # as libraries in C do when it comes while they are initialized
                    raise ImportError("initialization failed") from stopped
                raise
sys.meta_path.insert(0, Stop())
"""


def start(
    *arguments: object,
    cwd: Path,
    stdout: int = subprocess.PIPE,
    cache: Path | None = None,
    begun: Path | None = None,
    at_import: tuple[signal.Signals, str] | None = None,
    lost: bool = False,
) -> subprocess.Popen[str]:
    """Starts the command in a process of its own, with signals as in a terminal.

    Args:
        arguments: the command and its flags.
        cwd: the working folder.
        stdout: where its output goes.
        cache: its cache; None: the one of this process.
        begun: a file that is there once Python itself has started.
        at_import: a signal that the process gets when it imports a module of that name.
        lost: the import fails by an error of its own.
    """
    place = {} if cache is None else {"DEIXIS_CACHE": str(cache)}
    first = "" if begun is None else f"open({str(begun)!r}, 'w').close()\n"
    first += "" if at_import is None else _AT_IMPORT.format(number=at_import[0], module=at_import[1], lost=lost)
    code = _START.format(source=str(SOURCE), first=first)
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
