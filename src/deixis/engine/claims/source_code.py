"""Fingerprints of code: equal where the same is computed, whatever is imported from where, declared or explained."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deixis import methods
from deixis.types.literals import parse

__all__ = ["computation", "file_hash", "passed_through", "source_hash"]

_PASSED = ("deixis.ops", "deixis.engine.claims.tasks", "deixis.engine.claims.measures", "deixis.engine.evaluation")
"""Where the modules lie that a method passes through when it is tried, beside its own and the network's."""

_DECLARATIONS = ("CARD", "CLAIMS", "__all__")


@functools.cache
def source_hash(name: str) -> str:
    """A fingerprint of what a method computes, and of what the methods that it imports do; see `computation`."""
    tree = parse(methods.read(name).path)
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("deixis.methods")
        for alias in node.names
    }
    parents = sorted(imported & set(methods.list_methods()))
    text = "\n".join([computation(tree), *map(source_hash, parents)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def passed_through(method: str, task: str) -> dict[str, str]:
    """Module -> a fingerprint of its code (see `computation`), for the task, the measures and the ops that a method
    passes through when it is tried there, whatever imports them.

    Args:
        method: by name.
        task: by name.
    """
    names = ["deixis.engine.claims.measures", f"deixis.engine.claims.tasks.{task}"]
    todo = [*names, *_imports(parse(methods.read(method).path))]
    found: dict[str, str] = {}
    while todo:
        name = todo.pop()
        path = _path(name)
        if name not in found and path is not None:
            found[name] = file_hash(path)
            todo += _imports(parse(path))
    return dict(sorted(found.items()))


@functools.cache
def file_hash(path: Path) -> str:
    """A fingerprint of what a file computes; see `computation`."""
    return hashlib.sha256(computation(parse(path)).encode()).hexdigest()[:16]


def _imports(tree: ast.Module) -> Iterator[str]:
    """Modules of `_PASSED` that a file imports anywhere."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(_PASSED):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _path(name: str) -> Path | None:
    path = Path(__file__).parents[2].joinpath(*name.split(".")[1:]).with_suffix(".py")
    return path if path.is_file() else None


def computation(tree: ast.Module) -> str:
    """The source of a module less all that computes nothing: imports, `CARD`, `CLAIMS` and `__all__`, docstrings,
    comments, layout, and the annotations of functions. Those of a class stay, since a dataclass is made from them.

    Args:
        tree: of the module; it is left as it is.
    """
    bare = _Bare().visit(ast.parse(ast.unparse(tree)))
    return ast.unparse(bare)


class _Bare(ast.NodeTransformer):
    """Takes away what computes nothing."""

    def __init__(self) -> None:
        self._functions = 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Import(self, node: ast.Import) -> None:
        return None

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        return None

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> ast.AST | None:
        declares = [each for each in node.targets if isinstance(each, ast.Name) and each.id in _DECLARATIONS]
        return None if declares else self.generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        """A block of imports for the type checker goes as a whole."""
        self.generic_visit(node)
        return None if [type(each) for each in node.body] == [ast.Pass] and not node.orelse else node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        self._functions += 1
        self.generic_visit(node)
        self._functions -= 1
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if not self._functions or node.value is None:
            return self.generic_visit(node)
        return self.generic_visit(ast.Assign([node.target], node.value, lineno=0))
