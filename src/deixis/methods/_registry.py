"""Finds methods by file name and reads what they declare without importing them."""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import importlib
import types as python_types
from pathlib import Path
from typing import Any, Literal

import deixis.types.specs as specs
from deixis.errors import DeixisError
from deixis.types.literals import require_literal

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


def get(name: str) -> python_types.ModuleType:
    """Imports the file of a method: its module holds `CARD`, `Config`, `CLAIMS` and `Method`.

    Raises:
        DeixisError: no method has that name; near names are told.
    """
    folder = ".baselines" if _path(name).parent != _HERE else ""
    return importlib.import_module(f"deixis.methods{folder}.{name}")


@functools.cache
def read(name: str) -> Literals:
    """What a method declares, read from its source without importing it.

    Raises:
        DeixisError: no method has that name.
        TypeError: the file declares something that is no literal; the line is told.
    """
    path = _path(name)
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    scope: dict[str, Any] = {key: getattr(specs, key) for key in specs.__all__}
    scope |= {"dataclass": dataclasses.dataclass, "dataclasses": dataclasses, "Literal": Literal}
    # The module in which the types of the settings have a meaning, for whoever asks for them.
    scope["__name__"] = specs.__name__
    scope |= {alias: _Parent(parent) for alias, parent in _parents(tree).items()}
    known = set(scope)
    body = [node for node in tree.body if _declares(node, path, known)]
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, *body], []), str(path), "exec"), scope)
    missing = [each for each in ("CARD", "Config", "CLAIMS") if each not in scope]
    if missing:
        raise TypeError(f"{path.name} declares no {', '.join(missing)}")
    doc = ast.get_docstring(tree) or ""
    return Literals(name, path, doc, scope["CARD"], scope["Config"], scope["CLAIMS"])


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


def _declares(node: ast.stmt, path: Path, known: set[str]) -> bool:
    """Whether a top-level statement is part of the declaration, whose names join `known`; refuses one that would have
    to run code."""
    if isinstance(node, ast.ClassDef) and node.name == "Config":
        for value in [*node.bases, *_values(node, path)]:
            _check(value, path, known)
        known.add("Config")
        return True
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if node.value is None or not any(name.isupper() for name in names):
            return False
        try:
            _check(node.value, path, known)
        except TypeError:
            if any(name in _DECLARED for name in names):
                raise
            return False
        known.update(names)
        return True
    return False


def _values(config: ast.ClassDef, path: Path) -> list[ast.expr]:
    """Defaults of the fields and what the presets return."""
    values: list[ast.expr] = []
    for node in config.body:
        if isinstance(node, ast.AnnAssign):
            values += [node.value] if node.value is not None else []
        elif isinstance(node, ast.FunctionDef):
            match [each for each in node.body if not _is_text(each)]:
                case [ast.Return(value=ast.Call(func=ast.Name(id="cls")) as value)]:
                    values.append(value)
                case _:
                    raise TypeError(
                        f"{path.name}, line {node.lineno}: preset {node.name!r} must be one `return cls(...)`"
                    )
        elif not _is_text(node):
            raise TypeError(f"{path.name}, line {node.lineno}: a Config holds fields and presets only")
    return values


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _check(value: ast.expr, path: Path, known: set[str]) -> None:
    """Refuses what is no literal; a preset may call `cls`."""
    require_literal(value, path, {*known, "cls"}, {*specs.__all__, "cls"})
