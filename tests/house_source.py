"""What the rules of the house read: the modules of a package, parsed once, and what each of them imports."""

from __future__ import annotations

import ast
import functools
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["PACKAGE", "Function", "Module", "docstring", "imported", "lines_of", "modules"]

PACKAGE = Path(__file__).parents[1] / "src" / "deixis"
Function = ast.FunctionDef | ast.AsyncFunctionDef
N = TypeVar("N", bound=ast.AST)


class Module:
    """A parsed source file and where it stands in the package."""

    def __init__(self, place: Path, text: str) -> None:
        self.place, self.text = place, text
        self.tree = ast.parse(text, filename=str(place))
        self._nodes: dict[type[ast.AST], list[Any]] = {}
        for node in _walk(self.tree):
            self._nodes.setdefault(type(node), []).append(node)
        self.package = self.place.parts[0].removesuffix(".py")
        self.stem = place.stem
        self.is_method = self.package == "methods" and not self.stem.startswith("_")

    def fault(self, node: ast.AST | None, text: str) -> str:
        line = f":{node.lineno}" if node is not None and hasattr(node, "lineno") else ""
        return f"{self.place.as_posix()}{line}: {text}"

    def nodes(self, *kinds: type[N]) -> Iterator[N]:
        """Those of these kinds at any depth: a rule that looks through all nodes takes longer than all others."""
        return (node for kind in kinds for node in self._nodes.get(kind, ()))

    def functions(self) -> Iterator[Function]:
        return self.nodes(*typing.get_args(Function))

    def public_names(self) -> list[str] | None:
        """Names in `__all__`; those of `*other.__all__` are defined in the other module, and counted there."""
        for node in self.tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
                names = node.value.elts if isinstance(node.value, ast.List) else []
                return [ast.literal_eval(name) for name in names if not isinstance(name, ast.Starred)]
        return None

    def public_definitions(self) -> Iterator[tuple[ast.stmt, str]]:
        """Functions and classes named in `__all__`, and the public methods of those classes, with their full names."""
        public = set(self.public_names() or ())
        for node in self.tree.body:
            if isinstance(node, Function | ast.ClassDef) and node.name in public:
                yield node, node.name
                for inner in node.body if isinstance(node, ast.ClassDef) else ():
                    if isinstance(inner, Function) and (not inner.name.startswith("_") or inner.name == "__call__"):
                        yield inner, f"{node.name}.{inner.name}"


def modules(root: Path) -> list[Module]:
    """All modules of the package folder `root`; those of the package itself do not change while tests run."""
    return _own_modules() if root == PACKAGE else _modules(root)


@functools.cache
def _own_modules() -> list[Module]:
    return _modules(PACKAGE)


def _modules(root: Path) -> list[Module]:
    return [_parsed(path.relative_to(root), path.read_text(encoding="utf-8")) for path in sorted(root.rglob("*.py"))]


@functools.cache
def _parsed(place: Path, text: str) -> Module:
    """Every rule looks at the same files; parsing takes longer than looking."""
    return Module(place, text)


def _walk(tree: ast.AST) -> list[ast.AST]:
    """As `ast.walk`, which takes twice as long, but for the contexts of names."""
    nodes = [tree]
    for node in nodes:
        for field in node._fields:
            value = getattr(node, field, None)
            if isinstance(value, list):
                nodes += [each for each in value if isinstance(each, ast.AST)]
            elif isinstance(value, ast.AST) and field != "ctx":
                nodes.append(value)
    return nodes


def docstring(node: ast.AST) -> ast.Expr | None:
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    is_text = (
        isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    )
    return first if is_text else None


def lines_of(node: ast.AST | None) -> set[int]:
    return set() if node is None else set(range(node.lineno, node.end_lineno + 1))


def _resolve(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    package = ["deixis", *module.place.parts[:-1]]
    return ".".join(package[: len(package) - node.level + 1] + ([node.module] if node.module else []))


@functools.cache
def imported(module: Module) -> list[tuple[ast.AST, str]]:
    """Every import of the package, at any depth, as the dotted name of what is imported."""
    return list(_imported(module))


def _imported(module: Module) -> Iterator[tuple[ast.AST, str]]:
    for node in module.nodes(ast.Import, ast.ImportFrom, ast.Call):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _resolve(module, node)
            yield from ((node, f"{base}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if called in ("import_module", "__import__"):
                yield node, str(node.args[0].value)
