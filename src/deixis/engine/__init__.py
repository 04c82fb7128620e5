"""What runs methods: builds them, trains and fits them, measures them. It never depends on a method's name.

The names below load on first use: what protocols declare is read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deixis.engine.training.build import build
    from deixis.engine.training.stages import enter, offers, stages, trained
    from deixis.engine.training.step import backward

__all__ = ["backward", "build", "enter", "offers", "stages", "trained"]

_HOME = {"backward": "step", "build": "build"} | dict.fromkeys(("enter", "offers", "stages", "trained"), "stages")


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"deixis.engine.training.{_HOME[name]}"), name)
    raise AttributeError(f"module 'deixis.engine' has no attribute {name!r}")
