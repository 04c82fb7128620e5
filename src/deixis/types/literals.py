"""What a file declares as a literal, read from its source without importing it: hence without torch."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

__all__ = ["read_declared", "read_literal", "require_literal"]

_ALLOWED = (
    *(ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.UnaryOp, ast.USub, ast.BinOp, ast.Add, ast.Sub, ast.Mult),
    *(ast.Div, ast.Pow, ast.FloorDiv, ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Load, ast.Starred),
)


def require_literal(value: ast.expr, path: Path, names: Container[str], calls: Container[str]) -> None:
    """Refuses all but constants, arithmetic, collections, known names, and calls of known value objects.

    Args:
        value: the right side of an assignment.
        path: of its file, for the message.
        names: that may stand in it.
        calls: what may be called in it.

    Raises:
        TypeError: something else stands there; the line is in the message.
    """
    for node in ast.walk(value):
        if not isinstance(node, _ALLOWED):
            found = f"{type(node).__name__} is no literal"
        elif isinstance(node, ast.Name) and node.id not in names:
            found = f"{node.id!r} is no literal defined above"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) not in calls:
            found = f"a call of {ast.unparse(node.func)} is no literal"
        else:
            continue
        line = getattr(node, "lineno", value.lineno)
        raise TypeError(f"{path.name}, line {line}: {found}; see deixis/types/literals.py")


def read_literal(path: Path, name: str, classes: Mapping[str, type]) -> Any:
    """The value that a file assigns to `name` at its top level.

    Args:
        path: of the file.
        name: such as `PART`.
        classes: the value objects that it may be made of, by their names.

    Raises:
        TypeError: the file assigns nothing to that name, or no literal.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == name for target in targets):
            require_literal(value, path, classes, classes)
            return eval(compile(ast.Expression(value), str(path), "eval"), {"__builtins__": {}, **classes})
    raise TypeError(f"{path.name} declares no {name}")


def read_declared(
    path: Path, names: Sequence[str], settings: str, scope: Mapping[str, Any], calls: Iterable[str]
) -> dict[str, Any]:
    """What a file declares at its top level: literals in capitals, and one dataclass of settings with its presets.

    Args:
        path: of the file.
        names: what must be there and be a literal, such as `CARD`; others in capitals are read where they are.
        settings: name of the class.
        scope: what the declarations may name.
        calls: names of `scope` that may be called.

    Returns:
        Name -> value, the docstring as `__doc__`.

    Raises:
        TypeError: something is missing, or no literal; the line is in the message.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    found = {**scope, "dataclass": dataclasses.dataclass, "dataclasses": dataclasses, "Literal": Literal}
    reader = _Declarations(path, names, settings, set(found), {*calls, "cls"})
    body = [node for node in tree.body if reader.declares(node)]
    future = ast.parse("from __future__ import annotations").body
    exec(compile(ast.Module([*future, *body], []), str(path), "exec"), found)
    missing = [each for each in (*names, settings) if each not in found]
    if missing:
        raise TypeError(f"{path.name} declares no {', '.join(missing)}")
    return {**found, "__doc__": ast.get_docstring(tree) or ""}


class _Declarations:
    """Tells which top-level statements of a file are its declaration."""

    def __init__(self, path: Path, names: Sequence[str], settings: str, known: set[str], calls: set[str]) -> None:
        self.path, self.names, self.settings, self.known, self.calls = path, names, settings, known, calls

    def declares(self, node: ast.stmt) -> bool:
        """Whether a statement is part of it; its names are known from then on. Refuses one that would have to run
        code."""
        if isinstance(node, ast.ClassDef) and node.name == self.settings:
            for value in [*node.bases, *self._values(node)]:
                self._check(value)
            self.known.add(self.settings)
            return True
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            assigned = [target.id for target in targets if isinstance(target, ast.Name)]
            if node.value is None or not any(name.isupper() for name in assigned):
                return False
            try:
                self._check(node.value)
            except TypeError:
                if any(name in self.names for name in assigned):
                    raise
                return False
            self.known.update(assigned)
            return True
        return False

    def _values(self, config: ast.ClassDef) -> list[ast.expr]:
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
                            f"{self.path.name}, line {node.lineno}: preset {node.name!r} must be one `return cls(...)`"
                        )
            elif not _is_text(node):
                kind = self.settings
                raise TypeError(f"{self.path.name}, line {node.lineno}: a class {kind} holds fields and presets only")
        return values

    def _check(self, value: ast.expr) -> None:
        """Refuses what is no literal; a preset may call `cls`."""
        require_literal(value, self.path, {*self.known, "cls"}, self.calls)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
