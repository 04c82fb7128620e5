"""The command line: selects the requested command and runs it. Help, `list` and `show` do not import torch."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence

from deixis.apps.common.verbs import command, read_verb, verbs
from deixis.errors import STOPPED_BY, DeixisError, Stopped, raise_if_stopped

TYPE_CHECKING = False
if TYPE_CHECKING:  # see deixis.apps.common.verbs
    from typing import Any, NoReturn

__all__ = ["main"]


def _help() -> str:
    found = verbs()
    width = max(len(f"{name} {verb.arguments}") for name, verb in found.items())
    lines = ["Adapt, ground, explain and search image-text models on your own images, on one modest machine."]
    group = ""
    for name, verb in found.items():
        if verb.group != group:
            group = verb.group
            lines += ["", f"{group[:1].upper()}{group[1:]}"]
        lines.append(f"  deixis {f'{name} {verb.arguments}':<{width}}   {verb.summary}")
    end = "`deixis COMMAND --help` shows all flags of a command. Example: deixis adapt my-photos --out my-run"
    return "\n".join([*lines, "", end])


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 2 wrong input, 74 where the output can't be written, 130 stopped by
    Ctrl-C, 143 by SIGTERM, 141 where the reader of the output has gone."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    closed = _open_streams()
    try:
        code = _answer(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_output()
        code = 141
    except OSError:
        if (refusal := _refusal()) is None:
            raise
        _discard_output()
        _to_stderr(f"deixis: the output can't be written: {refusal}.")
        code = 74
    if closed is not None and closed.written:
        _to_stderr("deixis: standard output is closed, so the result was not printed.")
        code = code or 74
    _leave(code)


class _ClosedOutput(io.StringIO):
    """Stands for a standard output that was closed (`>&-`), and records whether something was to be printed."""

    written = False

    def write(self, text: str) -> int:
        self.written = self.written or bool(text.strip())
        return len(text)


def _open_streams() -> _ClosedOutput | None:
    """Standard output and error that can be written to, whatever the terminal; the stand-in where output is closed."""
    closed = None
    if sys.stdout is None:
        sys.stdout = closed = _ClosedOutput()
    if sys.stderr is None:
        sys.stderr = _ClosedOutput()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that has no true minus
    return closed


def _refusal() -> str | None:
    """Why standard output takes nothing; None where it does, and an error was of something else."""
    try:
        print(flush=True)
    except OSError as error:
        return error.strerror
    return None


def _discard_output() -> None:
    """Sends what is still buffered nowhere, so that the interpreter does not fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _to_stderr(text: str) -> None:
    """Prints an error; where nobody can read it the exit code says all."""
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)


def _leave(code: int) -> NoReturn:
    """Ends the process; one of several ranks at once, since threads of gloo, torn down at the end of the interpreter,
    now and then abort it after all is done, which `torchrun` takes for a failure. Ctrl-C ends what is left of it
    without a word, since all has been said."""
    if "signal" in sys.modules:
        import signal

        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if os.environ.get("WORLD_SIZE", "1") != "1" and "torch.distributed" in sys.modules:
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _answer(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return 0
    if arguments[0] in ("--version", "-V"):
        import deixis

        print(deixis.__version__)
        return 0
    return _guarded(arguments[0], arguments[1:])


def _guarded(verb: str, arguments: Sequence[str]) -> int:
    """Runs a command; an expected error is reported as one message."""
    if read_verb(verb) is None:
        import difflib

        near = difflib.get_close_matches(verb, verbs(), n=1)
        hint = f"Did you mean {near[0]}?" if near else f"The commands are {', '.join(verbs())}."
        _to_stderr(f"deixis: there is no command {verb!r}. {hint}")
        return 2
    try:
        with _stoppable():
            return _run(verb, arguments)
    except BaseException as error:
        if STOPPED_BY:  # whatever was raised: a library in C that is being imported makes an ImportError of it
            _to_stderr(_STOPPED)
            return 128 + STOPPED_BY[0]
        if _is_out_of_memory(error):
            _to_stderr(f"deixis {verb}: {_OUT_OF_MEMORY}")
            return 2
        if not isinstance(error, DeixisError):
            raise
        _to_stderr(f"deixis {verb}: {error}")
        return 2
    finally:
        STOPPED_BY.clear()


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """Raises `Stopped` where a signal comes; or a moment later, where nothing can be raised."""
    import signal  # it takes a few milliseconds to load, of the twenty in which help answers

    def stop(number: int, frame: Any) -> None:
        if number != signal.SIGALRM:
            STOPPED_BY.append(number)
        if _is_importing(frame):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            raise_if_stopped()

    def ignored(told: Any) -> None:
        if isinstance(told.exc_value, Stopped):  # it came while Python let go of something, where nothing is raised
            signal.setitimer(signal.ITIMER_REAL, _AGAIN)
        else:
            before(told)

    before, sys.unraisablehook = sys.unraisablehook, ignored
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handled = [each for each in signals if signal.getsignal(each) is not signal.SIG_IGN]  # ignored under nohup
    handlers = {each: signal.signal(each, stop) for each in (*handled, signal.SIGALRM)}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # at the end of the interpreter nobody would answer it
        sys.unraisablehook = before
        for each, handler in handlers.items():
            signal.signal(each, handler)


_AGAIN = 0.02  # seconds, after which a signal that could not be raised where it came is raised


def _is_importing(frame: Any) -> bool:
    """Whether a module is being imported: code in C that is beginning ends the process where something is raised."""
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


_OUT_OF_MEMORY = (
    "There is not enough memory. No partial file was left, and finished work is stored. Close other programs, or give "
    "smaller batches or less data, and run again."
)


_REFUSED = ("can't allocate", "can't start new thread")


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was refused; torch, on a processor, and Python's threads say so in words alone."""
    refused = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    told = isinstance(error, RuntimeError) and any(each in str(error) for each in _REFUSED)
    return refused or told


_STOPPED = "\nStopped. No partial file was left, and finished work is stored: run the same command to resume."


def _run(verb: str, arguments: Sequence[str]) -> int:
    """Calls the command's function with the flags in `arguments`; gives its exit code."""
    import inspect

    file = command(verb)
    if not arguments and all(
        each.default is not each.empty for each in inspect.signature(file.run).parameters.values()
    ):
        return int(file.run() or 0)  # there is nothing to read, and `deixis list` answers at once
    from deixis.apps.common import command_line
    from deixis.apps.common.startup_notice import announce_torch

    flags = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if "-h" in flags or "--help" in flags:
        print(command_line.help_text(verb, file.VERB, file.run), end="")
        return 0
    announce_torch()
    if hasattr(file, "rewrite"):
        arguments = file.rewrite(arguments)
    return command_line.parse_and_run(verb, file.run, arguments)
