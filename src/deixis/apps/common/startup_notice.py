"""A line on the terminal for as long as PyTorch is imported, which is most of what a command needs to start."""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from types import ModuleType

__all__ = ["announce_torch"]

_LINE, _CLEAR = "Loading PyTorch ...", "\r\x1b[K"


def announce_torch() -> None:
    """Shows the line from the moment at which torch begins to be imported until it is; only on a terminal, and only
    once. A command that ends without torch never shows it."""
    if sys.stderr.isatty() and "torch" not in sys.modules:
        sys.meta_path.insert(0, _Finder())


class _Finder(importlib.abc.MetaPathFinder):
    """Finds torch where the finders behind it do, and wraps its loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "torch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader(importlib.abc.Loader):
    """Another loader, with the line before and without it after."""

    def __init__(self, loader: importlib.abc.Loader) -> None:
        self._loader = loader

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # torch asks its loader for more than this one has
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        sys.stderr.write(_LINE)
        sys.stderr.flush()
        try:
            self._loader.exec_module(module)
        finally:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
