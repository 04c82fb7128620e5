"""One file per paper; `baselines/` holds what they are compared with or built on, in the same form.

A method is found by its file's name. Its `CARD`, `Config` and `CLAIMS` are literals and are read without importing the
file, hence without torch; the file itself is imported by `get`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from deixis.methods._registry import Literals, Summary, get, list_methods, read, summaries

if TYPE_CHECKING:  # listing methods does not need them
    from deixis.methods._settings import all_settings, change_settings, former_names, setting_types

__all__ = [
    "Literals",
    "Summary",
    "all_settings",
    "change_settings",
    "former_names",
    "get",
    "list_methods",
    "read",
    "setting_types",
    "summaries",
]


def __getattr__(name: str) -> Any:
    """Loads the functions of settings on first use."""
    if name in __all__:
        return getattr(importlib.import_module("deixis.methods._settings"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
