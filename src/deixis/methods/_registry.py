"""Finds methods by file name and reads what they declare without importing them."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import deixis.types.specs as specs
from deixis.errors import DeixisError
from deixis.types.literals import read_declared

if TYPE_CHECKING:  # it needs torch, and listing methods does not
    from deixis.types.protocols import MethodFile

__all__ = ["Literals", "get", "list_methods", "read"]

_HERE = Path(__file__).parent
_DECLARED = ("CARD", "CLAIMS")


@dataclasses.dataclass(frozen=True)
class Literals:
    """What a method file declares.

    Attributes:
        name: of the file, hence of the method.
        path: of the file.
        doc: its docstring.
        card: its `CARD`.
        config: its `Config` class: an ordinary dataclass with the presets `tiny`, `desk` and `paper`.
        claims: its `CLAIMS`.
    """

    name: str
    path: Path
    doc: str
    card: specs.Card
    config: Any
    claims: tuple[specs.Claim, ...]


def _files() -> dict[str, Path]:
    paths = [*_HERE.glob("*.py"), *(_HERE / "baselines").glob("*.py")]
    return {path.stem: path for path in sorted(paths) if not path.stem.startswith("_")}


def list_methods(role: str | None = None) -> list[str]:
    """Names of all methods, in alphabetical order; `role` (`paper`, `baseline`, `ancestor`) keeps only those."""
    return [name for name in sorted(_files()) if role is None or read(name).card.role == role]


def _path(name: str) -> Path:
    files = _files()
    if name not in files:
        near = difflib.get_close_matches(name, files, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else "`deixis list` shows all."
        raise DeixisError(f"There is no method called {name!r}.", hint)
    return files[name]


def get(name: str) -> MethodFile:
    """Imports the file of a method: its module holds `CARD`, `Config`, `CLAIMS` and `Method`.

    Raises:
        DeixisError: no method has that name; near names are told.
    """
    folder = ".baselines" if _path(name).parent != _HERE else ""
    return cast("MethodFile", importlib.import_module(f"deixis.methods{folder}.{name}"))


@functools.cache
def read(name: str) -> Literals:
    """What a method declares, read from its source without importing it.

    Raises:
        DeixisError: no method has that name.
        TypeError: the file declares something that is no literal; the line is told.
    """
    path = _path(name)
    scope: dict[str, Any] = {key: getattr(specs, key) for key in specs.__all__}
    # The module in which the types of the settings have a meaning, for whoever asks for them.
    scope["__name__"] = specs.__name__
    scope |= {alias: _Parent(parent) for alias, parent in _parents(path).items()}
    found = read_declared(path, _DECLARED, "Config", scope, specs.__all__)
    return Literals(name, path, found["__doc__"], found["CARD"], found["Config"], found["CLAIMS"])


class _Parent:
    """Stands for the module of a parent paper while a delta paper's literals are read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "Config":
            return read(self._name).config
        raise TypeError(f"a literal may use {self._name}.Config of its parent, not {self._name}.{attribute}")


def _parents(path: Path) -> dict[str, str]:
    """The methods that a file imports: the name they have in it -> their own."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    known = _files()
    return {
        a.asname or a.name: a.name
        for node in imports
        if str(node.module).startswith("deixis.methods")
        for a in node.names
        if a.name in known
    }
