"""What a file declares as a literal, read from its source without importing it: hence without torch."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

__all__ = ["read_literal", "require_literal"]

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
