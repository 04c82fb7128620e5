"""Fingerprints of code: equal where the same is computed, whatever is imported from where, declared, explained, or
called where nobody else sees it."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from deixis import methods
from deixis.engine.claims.claim_tasks import list_tasks, read_task
from deixis.types.literals import parse

__all__ = [
    "THREADS",
    "changed_code",
    "code_key",
    "computation",
    "file_hash",
    "file_imports",
    "passed_through",
    "source_hash",
]

THREADS = 1
"""Of every unit, on every machine: sums over several threads are rounded in another order."""

_PASSED = (
    *("deixis.ops", "deixis.nn", "deixis.zoo.scratch", "deixis.zoo.starter", "deixis.engine.fewshot"),
    *("deixis.engine.claims.tasks", "deixis.engine.claims.measures", "deixis.engine.evaluation"),
)
"""Where the modules lie that a method passes through when it is tried, beside its own."""

_DECLARATIONS = ("CARD", "CLAIMS", "__all__")


@functools.cache
def source_hash(name: str) -> str:
    """A fingerprint of what a method computes, and of what the methods that it imports do; see `computation`."""
    path = methods.read(name).path
    text = "\n".join([computation(parse(path)), *map(source_hash, _parents(path))])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _parents(path: Path) -> list[str]:
    """Methods that a method's file imports."""
    imported = {name.rpartition(".")[2] for name in file_imports(path) if name.startswith("deixis.methods")}
    return sorted(imported & set(methods.list_methods()))


def _files(method: str) -> Iterator[Path]:
    """The file of a method, and those of the methods that it imports."""
    path = methods.read(method).path
    yield path
    for parent in _parents(path):
        yield from _files(parent)


@functools.cache
def passed_through(method: str, task: str) -> Mapping[str, str]:
    """Module -> a fingerprint of its code (see `computation`), for the task, the measures, the ops, the networks and,
    of few-shot claims, the engine of these, that a method passes through when it is tried there, whatever imports them.

    Args:
        method: by name.
        task: by name.
    """
    names = ["deixis.engine.claims.measures", f"deixis.engine.claims.tasks.{task}"]
    passes = read_task(task).card.passes if task in list_tasks() else ()
    todo = [*names, *passes, *(name for path in _files(method) for name in _passed_of(path))]
    found: dict[str, str] = {}
    while todo:
        name = todo.pop()
        path = _path(name)
        if name not in found and path is not None:
            found[name] = file_hash(path)
            todo += _passed_of(path)
    return types.MappingProxyType(dict(sorted(found.items())))


def code_key(first: str, codes: Mapping[str, str]) -> str:
    """A fingerprint of several and of the number of threads, without the names of modules: one that is only moved
    counts as the same.

    Args:
        first: fingerprint of a claim or a method.
        codes: module or method -> fingerprint.
    """
    text = json.dumps([first, sorted(codes.values()), THREADS])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changed_code(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Names of what computes something else now, came or went; what was moved is none of these.

    Args:
        before: module or method -> fingerprint.
        now: the same, at present.
    """
    old, new = set(before.values()), set(now.values())
    gone = {name for name, code in before.items() if code not in new}
    return sorted(gone | {name for name, code in now.items() if code not in old})


@functools.cache
def file_hash(path: Path) -> str:
    """A fingerprint of what a file computes; see `computation`."""
    return hashlib.sha256(computation(parse(path)).encode()).hexdigest()[:16]


@functools.cache
def file_imports(path: Path) -> tuple[str, ...]:
    """Modules, and names in them, that a file takes by `from ... import ...`, anywhere in it."""
    nodes = [node for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom)]
    return tuple(
        name for node in nodes for name in (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
    )


@functools.cache
def _passed_of(path: Path) -> tuple[str, ...]:
    """Modules of `_PASSED` that a file imports."""
    return tuple(name for name in file_imports(path) if name.startswith(_PASSED))


@functools.cache
def _path(name: str) -> Path | None:
    place = Path(__file__).parents[2].joinpath(*name.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def computation(tree: ast.Module) -> str:
    """The source of a module less all that computes nothing: imports, `CARD`, `CLAIMS` and `__all__`, docstrings,
    comments, layout, and the annotations of functions. Those of a class stay, since a dataclass is made from them.
    Private values that nothing else reads (those of claims) go, too, so that a claim more changes nothing. Private
    names of the module, and names inside a function that are not its arguments, are numbered, so that it does not
    matter what they are; names that others may use stay, since they may be exchanged.

    Args:
        tree: of the module; it is changed.
    """
    bare = _without_unused(_Bare().visit(tree))
    private = [name for node in bare.body for name in _bound(node) if name.startswith("_")]
    _rename(bare, private, "module")
    for node in ast.walk(bare):
        outermost = isinstance(node, ast.Module | ast.ClassDef)
        for each in node.body if outermost else ():  # type: ignore[attr-defined]
            if isinstance(each, ast.FunctionDef):
                _rename(each, _locals(each), "local")
    return ast.unparse(bare)


def _without_unused(tree: ast.Module) -> ast.Module:
    """Takes away private values of the module that nothing reads."""
    while True:
        read = {each.id for each in ast.walk(tree) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)}
        kept = [node for node in tree.body if not _unused(node, read)]
        if len(kept) == len(tree.body):
            return tree
        tree.body = kept


def _unused(node: ast.stmt, read: set[str]) -> bool:
    names = list(_bound(node)) if isinstance(node, ast.Assign | ast.AnnAssign) else []
    return bool(names) and all(name.startswith("_") and name not in read for name in names)


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement of a module gives to something."""
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))


def _locals(function: ast.FunctionDef) -> list[str]:
    """Names that are given to something inside a function, but for arguments and those that are of a scope without."""
    inside = list(ast.walk(function))
    outside = {name for each in inside if isinstance(each, ast.Global | ast.Nonlocal) for name in each.names}
    outside |= {each.arg for each in inside if isinstance(each, ast.arg)}
    if any(isinstance(each, ast.ClassDef) for each in inside):
        return []
    stored = [each.id for each in inside if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    return [name for name in stored if name not in outside and not name.startswith("§")]


def _rename(tree: ast.AST, names: Iterable[str], kind: str) -> None:
    """Numbers names by the order in which they come first; equal texts are left where one is a renaming of the other
    that mixes up none."""
    numbers = {name: f"§{kind}{number}" for number, name in enumerate(dict.fromkeys(names))}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            node.id = numbers.get(node.id, node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef) and kind == "module":
            node.name = numbers.get(node.name, node.name)


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
