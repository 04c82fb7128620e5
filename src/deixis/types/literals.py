"""What a file declares as a literal, read from its source without importing it: hence without torch."""

from __future__ import annotations
import __future__

import ast
import operator
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["evaluate", "parse", "read_constants", "read_declared", "read_literal", "require_literal"]

_OPERATIONS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.FloorDiv: operator.floordiv,
}
_ALLOWED = (
    *(ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.UnaryOp, ast.USub, ast.BinOp, *_OPERATIONS),
    *(ast.Call, ast.keyword, ast.Name, ast.Attribute, ast.Load, ast.Starred),
)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


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


def evaluate(value: ast.expr, names: Mapping[str, Any]) -> Any:
    """The value of an expression that `require_literal` let pass. Nothing is compiled, which takes most of the time of
    `eval`.

    Args:
        value: the expression.
        names: what its names stand for.
    """
    match value:
        case ast.Constant():
            return value.value
        case ast.Name():
            return names[value.id]
        case ast.Attribute():
            return getattr(evaluate(value.value, names), value.attr)
        case ast.Tuple():
            return tuple(_items(value.elts, names))
        case ast.List():
            return _items(value.elts, names)
        case ast.Dict():
            return _entries(zip(value.keys, value.values, strict=True), names)
        case ast.UnaryOp():
            return -evaluate(value.operand, names)
        case ast.BinOp():
            return _OPERATIONS[type(value.op)](evaluate(value.left, names), evaluate(value.right, names))
        case ast.Call():
            keywords = _entries(((each.arg, each.value) for each in value.keywords), names)
            return evaluate(value.func, names)(*_items(value.args, names), **keywords)
    raise TypeError(f"line {value.lineno}: {type(value).__name__} is no literal")


def _items(values: Sequence[ast.expr], names: Mapping[str, Any]) -> list[Any]:
    items: list[Any] = []
    for each in values:
        items += evaluate(each.value, names) if isinstance(each, ast.Starred) else [evaluate(each, names)]
    return items


def _entries(pairs: Iterable[tuple[ast.expr | str | None, ast.expr]], names: Mapping[str, Any]) -> dict[Any, Any]:
    """Of a dictionary, or the keywords of a call; one without a key is unpacked."""
    entries: dict[Any, Any] = {}
    for key, each in pairs:
        if key is None:
            entries |= evaluate(each, names)
        else:
            entries[evaluate(key, names) if isinstance(key, ast.expr) else key] = evaluate(each, names)
    return entries


def read_literal(path: Path, name: str, classes: Mapping[str, type]) -> Any:
    """The value that a file assigns to `name` at its top level.

    Args:
        path: of the file.
        name: such as `PART`.
        classes: the value objects that it may be made of, by their names.

    Raises:
        TypeError: the file assigns nothing to that name, or no literal.
    """
    value = _assigned(parse(path), name)
    if value is None:
        raise TypeError(f"{path.name} declares no {name}")
    require_literal(value, path, classes, classes)
    return evaluate(value, classes)


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value: ast.expr | None = getattr(node, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return value
    return None


def read_constants(path: Path, name: str) -> dict[str, Any]:
    """Those keyword arguments that are constants, of the call that a file assigns to `name`; neither the rest of the
    file nor the rest of the call is looked at. Empty where no call with keywords alone is assigned.

    Args:
        path: of the file.
        name: such as `CARD`.
    """
    value = _assigned(_parse_assignment(path, name), name)
    if not isinstance(value, ast.Call) or value.args:
        return {}
    return {each.arg: each.value.value for each in value.keywords if each.arg and isinstance(each.value, ast.Constant)}


def _parse_assignment(path: Path, name: str) -> ast.Module:
    """The syntax tree of the lines that assign to `name`: to the next line that could begin a statement. What is cut
    off too early is no valid source, and the whole file is parsed instead."""
    text = path.read_text(encoding="utf-8")
    match list(re.finditer(rf"^{name}\b", text, re.MULTILINE)):
        case [found]:
            end = re.compile(r"^[^\s)\]}#]", re.MULTILINE).search(text, found.end())
            try:
                return ast.parse(text[found.start() : end.start() if end else len(text)])
            except SyntaxError:
                pass
    return ast.parse(text, filename=str(path))


def read_declared(
    tree: ast.Module, path: Path, names: Sequence[str], settings: str, scope: Mapping[str, Any], calls: Iterable[str]
) -> dict[str, Any]:
    """What a file declares at its top level: literals in capitals, and one dataclass of settings with its presets.

    Args:
        tree: of the file.
        path: of the file, for messages.
        names: what must be there and be a literal, such as `CARD`; others in capitals are read where they are.
        settings: name of the class.
        scope: what the declarations may name.
        calls: names of `scope` that may be called.

    Returns:
        Name -> value, the docstring as `__doc__`.

    Raises:
        TypeError: something is missing, or no literal; the line is in the message.
    """
    import dataclasses
    from typing import Literal

    found = {**scope, "dataclass": dataclasses.dataclass, "dataclasses": dataclasses, "Literal": Literal}
    reader = _Declarations(path, names, settings, set(found), {*calls, "cls"})
    for node in tree.body:
        if not reader.declares(node):
            continue
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            found |= dict.fromkeys(_names(node), evaluate(node.value, found))
        else:
            code = compile(ast.Module([node], []), str(path), "exec", __future__.annotations.compiler_flag)
            exec(code, found)
    missing = [each for each in (*names, settings) if each not in found]
    if missing:
        raise TypeError(f"{path.name} declares no {', '.join(missing)}")
    return {**found, "__doc__": ast.get_docstring(tree) or ""}


def _names(node: ast.Assign | ast.AnnAssign) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return [target.id for target in targets if isinstance(target, ast.Name)]


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
            assigned = _names(node)
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
