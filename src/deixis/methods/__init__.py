"""One file per paper; `baselines/` holds what they are compared with or built on, in the same form.

A method is found by its file's name. Its `CARD`, `Config` and `CLAIMS` are literals and are read without importing the
file, hence without torch; the file itself is imported by `get`.
"""

from __future__ import annotations

from deixis.methods._registry import Literals, get, list_methods, read
from deixis.methods._settings import all_settings, change_settings, former_names, setting_types

__all__ = [
    "Literals",
    "all_settings",
    "change_settings",
    "former_names",
    "get",
    "list_methods",
    "read",
    "setting_types",
]
