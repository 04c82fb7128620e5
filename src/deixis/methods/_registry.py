"""Finds methods by file name and reads what they declare without importing them."""

from __future__ import annotations

import ast
import functools
import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from deixis.errors import DeixisError
from deixis.types.literals import parse, read_constants, read_declared

if TYPE_CHECKING:  # listing methods needs neither, and the first loads torch
    from deixis.types.protocols import MethodFile
    from deixis.types.specs import Card, Claim

__all__ = ["Literals", "Summary", "get", "list_methods", "read", "summaries"]

_HERE = Path(__file__).parent
_DECLARED = ("CARD", "CLAIMS")


class Summary(NamedTuple):
    """Who a method is, in short: what a list of all methods shows.

    Attributes:
        title: see `Card`, as for the others.
        kind: whether it is trained, fitted, training-free or an evaluator.
        role: `paper`, `baseline` or `ancestor`.
    """

    title: str
    kind: str
    role: str = "paper"


class Literals(NamedTuple):
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
    card: Card
    config: Any
    claims: tuple[Claim, ...]


def _files() -> dict[str, Path]:
    paths = [*_HERE.glob("*.py"), *(_HERE / "baselines").glob("*.py")]
    return {path.stem: path for path in sorted(paths) if not path.stem.startswith("_")}


def list_methods() -> list[str]:
    """Names of all methods, in alphabetical order."""
    return sorted(_files())


def summaries() -> dict[str, Summary]:
    """Name -> summary of all methods, in alphabetical order.

    Of each file only the lines of its `CARD` are parsed, and of these only constants are read: `deixis list` must not
    be waited for. A card that is written in another way is read whole.
    """
    return {name: _summary(name, path) for name, path in sorted(_files().items())}


def _summary(name: str, path: Path) -> Summary:
    written = read_constants(path, "CARD")
    fields = {key: written[key] for key in Summary._fields if key in written}
    if "title" in fields and "kind" in fields:
        return Summary(**fields)
    card = read(name).card
    return Summary(card.title, card.kind, card.role)


def _path(name: str) -> Path:
    files = _files()
    if name not in files:
        import difflib

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
    import deixis.types.specs as specs

    path = _path(name)
    tree = parse(path)
    scope: dict[str, Any] = {key: getattr(specs, key) for key in specs.__all__}
    # The module in which the types of the settings have a meaning, for whoever asks for them.
    scope["__name__"] = specs.__name__
    scope |= {alias: _Parent(parent) for alias, parent in _parents(tree).items()}
    found = read_declared(tree, path, _DECLARED, "Config", scope, specs.__all__)
    return Literals(name, path, found["__doc__"], found["CARD"], found["Config"], found["CLAIMS"])


class _Parent:
    """Stands for the module of a parent paper while a delta paper's literals are read."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "Config":
            return read(self._name).config
        raise TypeError(f"a literal may use {self._name}.Config of its parent, not {self._name}.{attribute}")


def _parents(tree: ast.Module) -> dict[str, str]:
    """The methods that a file imports: the name they have in it -> their own."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module]
    known = _files()
    return {
        a.asname or a.name: a.name
        for node in imports
        if str(node.module).startswith("deixis.methods")
        for a in node.names
        if a.name in known
    }
