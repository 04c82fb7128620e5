"""Protocols: how models are measured, one file each, found by listing this folder.

A file declares the literal `PROTOCOL`, which is read without importing it, hence without torch, and has two functions:

    prepare(data: EvalData, options: EvalOptions) -> plan     once; refuses data and settings before a model is loaded
    measure(plan, model: EvalModel, job: EvalJob) -> EvalOutput                                     once for each model

A file `base_to_new.py` is the protocol `base-to-new`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from pathlib import Path
from types import ModuleType

from deixis.errors import DeixisError
from deixis.types.evaluation import EvalMetric, EvalProtocol
from deixis.types.literals import read_literal

__all__ = ["load_protocol", "protocol_names", "read_protocol"]


def protocol_names() -> tuple[str, ...]:
    """The names of all protocols, in alphabetical order."""
    return tuple(sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__)))


def read_protocol(name: str) -> EvalProtocol:
    """What the file of a protocol declares.

    Raises:
        DeixisError: there is no such protocol.
    """
    if name not in protocol_names():
        close = difflib.get_close_matches(name, protocol_names(), n=1)
        hint = f"Did you mean {close[0]!r}? " if close else ""
        raise DeixisError(f"There is no protocol {name!r}.", f"{hint}There are: {', '.join(protocol_names())}.")
    file = f"{name.replace('-', '_')}.py"
    return _read(next(Path(folder, file) for folder in __path__ if Path(folder, file).is_file()))


@functools.cache
def _read(path: Path) -> EvalProtocol:
    protocol: EvalProtocol = read_literal(path, "PROTOCOL", {"EvalProtocol": EvalProtocol, "EvalMetric": EvalMetric})
    return protocol


def load_protocol(name: str) -> ModuleType:
    """Imports the file of a protocol.

    Raises:
        DeixisError: there is no such protocol.
    """
    read_protocol(name)
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
