"""What a message says when something is wrong: what was given, what was expected, how to fix it."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["STOPPED_BY", "DeixisError", "Stopped", "raise_if_stopped", "require"]

STOPPED_BY: list[int] = []
"""The signals that told this command to stop, as they came."""


class DeixisError(Exception):
    """An error meant for the user's eyes: one message, with the cure in it.

    The command line prints the message alone and exits with 2; Python code sees an ordinary exception.

    Args:
        found: what was found, as a sentence.
        cure: what to do about it; may be empty where `found` says it all.
    """

    def __init__(self, found: str, cure: str = "") -> None:
        self.found, self.cure = found, cure
        super().__init__(f"{found} {cure}".strip())

    def __reduce__(self) -> tuple[type[DeixisError], tuple[str, str]]:
        return type(self), (self.found, self.cure)


class Stopped(KeyboardInterrupt):
    """A signal, raised where the program is, so that everything half-written is taken away."""


def raise_if_stopped() -> None:
    """Raises once more what a signal raised. Code in C may have swallowed it, so that long loops ask at each turn.

    Raises:
        Stopped: a signal came.
    """
    if STOPPED_BY:
        raise Stopped(f"stopped by signal {STOPPED_BY[-1]}")


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Imports an optional package, or says which `pip install` line brings it.

    Args:
        module: name to import, such as `pyarrow.parquet`.
        extra: the extra of deixis that holds it, such as `data`.
        purpose: what it is needed for, as the end of "... is needed to".

    Raises:
        DeixisError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.split(".")[0]
        raise DeixisError(
            f"The package {package!r} is needed to {purpose}, and is not installed.",
            f"Install it with: pip install 'deixis[{extra}]'",
        ) from error
