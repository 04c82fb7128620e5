"""The rules of the house, each a function that lists what breaks it; `test_house.py` runs them and tests them."""

from __future__ import annotations

import ast
import collections
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.house_rooms import ROOM_CHECKS
from tests.house_source import Function, Module, docstring, imported, lines_of, modules

__all__ = ["TREE_CHECKS", "forbidden_pins", "heavy_imports", "machine_traces", "project_files"]

CHAIN = (
    *("freed_memory", "late_compiler", "errors", "files", "types", "ops", "inputs", "nn", "zoo", "methods"),
    *("engine", "apps", "cli"),
)
ALLOWED = {name: set(CHAIN[:place]) for place, name in enumerate(CHAIN)}
ALLOWED["data"] = {"errors", "files", "types", "ops", "inputs"}
ALLOWED["indexing"] = {"errors", "files", "types", "ops"}
ALLOWED["engine"] |= {"data"}
ALLOWED["apps"] |= {"data", "indexing"}
ALLOWED["cli"] |= {"data", "indexing"}
FRONT = ("__init__", "__main__")

FUNCTION_LINES, FILE_LINES, METHOD_FILE_LINES, ARGUMENTS, DUPLICATE_LINES = 60, 300, 400, 7, 6
HEAVY = ("torch", "torchvision", "timm", "scipy", "transformers", "open_clip")
VAGUE = {"helper", "helpers", "misc", "util", "utils"}
ATTENTION = {"MultiheadAttention", "scaled_dot_product_attention"}

# ---- the arrow of imports


def arrow(root: Path) -> list[str]:
    """A package imports only from those to its left."""
    faults = []
    for module in modules(root):
        if module.package in FRONT:
            continue
        if module.package not in ALLOWED:
            faults.append(module.fault(None, f"{module.package!r} has no place in the arrow of imports"))
            continue
        for node, name in imported(module):
            head, _, rest = name.partition(".")
            target = rest.split(".")[0]
            front_door = target not in ALLOWED
            if head != "deixis" or target == module.package or (front_door and module.package == "cli"):
                continue
            if target not in ALLOWED[module.package]:
                what = "the front door, deixis itself" if front_door else f"deixis.{target}"
                faults.append(module.fault(node, f"{module.package} imports {what}"))
    return faults


def independent_papers(root: Path) -> list[str]:
    """A paper imports baselines only, or the one parent whose Method it subclasses; a baseline imports no paper."""
    faults = []
    for module in modules(root):
        if not module.is_method:
            continue
        parents = {
            base.value.id
            for node in module.tree.body
            if isinstance(node, ast.ClassDef) and node.name == "Method"
            for base in node.bases
            if isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name)
        }
        for node, name in imported(module):
            if not name.startswith("deixis.methods.") or name.startswith("deixis.methods.baselines"):
                continue
            if name.split(".")[2] not in parents or "baselines" in module.place.parts:
                faults.append(module.fault(node, f"imports the paper {name}, and is no delta on it"))
    return faults


def hooks_by_protocol(root: Path) -> list[str]:
    """Whether a method has a hook or a capability is asked by its Protocol, which a type checker sees, by no string."""
    names = {
        inner.name if isinstance(inner, Function) else ast.unparse(inner.target)
        for module in modules(root)
        if module.place.parts[:2] == ("types", "protocols")
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and node.name.startswith(("Has", "Offers"))
        for inner in node.body
        if isinstance(inner, Function | ast.AnnAssign)
    }
    return [
        module.fault(node, f"asks for {node.args[1].value!r} by a string, which has a Protocol")
        for module in modules(root)
        if module.package in ("engine", "apps", "zoo")
        for node in module.nodes(ast.Call)
        if getattr(node.func, "id", "") in ("hasattr", "getattr")
        if isinstance(node.args[1], ast.Constant) and node.args[1].value in names
    ]


def attention_in_nn(root: Path) -> list[str]:
    """Attention is called in nn only, where a path returns the weights."""
    faults = []
    for module in modules(root):
        if module.package == "nn":
            continue
        used: list[tuple[ast.AST, str]] = [(node, node.attr) for node in module.nodes(ast.Attribute)]
        used += [(node, node.id) for node in module.nodes(ast.Name)]
        used += [(node, alias.name) for node in module.nodes(ast.ImportFrom) for alias in node.names]
        faults += [module.fault(node, f"{name} outside of nn") for node, name in used if name in ATTENTION]
    return faults


# ---- sizes


def function_length(root: Path) -> list[str]:
    """A function has fewer than 60 lines, its docstring not counted."""
    faults = []
    for module in modules(root):
        for node in module.functions():
            length = len(lines_of(node) - lines_of(docstring(node)))
            if length >= FUNCTION_LINES:
                faults.append(module.fault(node, f"{node.name} has {length} lines"))
    return faults


def _code_lines(module: Module) -> set[int]:
    """Lines that hold code: no comment, no blank."""
    skipped = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return lines


def _written_lines(module: Module) -> set[int]:
    """Lines that are no comment and not blank, and all of long strings: no line of code is missing."""
    lines = {
        number for number, line in enumerate(module.text.split("\n"), 1) if line.strip() and line.strip()[0] != "#"
    }
    for node in module.nodes(ast.Constant, ast.JoinedStr):
        if node.end_lineno > node.lineno:
            lines |= lines_of(node)
    return lines


def _not_counted(module: Module) -> set[int]:
    """Lines of docstrings, and of a method file's Card and Config."""
    lines: set[int] = set()
    for node in (module.tree, *module.nodes(ast.ClassDef), *module.functions()):
        lines |= lines_of(docstring(node))
    for node in module.tree.body if module.is_method else ():
        names = {getattr(target, "id", "") for target in getattr(node, "targets", ())} | {getattr(node, "name", "")}
        if names & {"CARD", "Config"}:
            lines |= lines_of(node)
    return lines


def file_length(root: Path) -> list[str]:
    """A file has at most 300 lines of code, a method's file 400."""
    faults = []
    for module in modules(root):
        limit = METHOD_FILE_LINES if module.is_method else FILE_LINES
        if module.text.count("\n") < limit:
            continue
        spared = _not_counted(module)
        if len(_written_lines(module) - spared) <= limit:
            continue  # reading all tokens of each file takes longer than all other rules
        count = len(_code_lines(module) - spared)
        if count > limit:
            faults.append(module.fault(None, f"{count} lines of code, {limit} at most"))
    return faults


def _arguments(node: Function) -> list[ast.arg]:
    """All arguments but `self` and `cls`."""
    spec = node.args
    plain = [*spec.posonlyargs, *spec.args]
    if plain and plain[0].arg in ("self", "cls", "mcs"):
        plain = plain[1:]
    return [*plain, *spec.kwonlyargs, *(each for each in (spec.vararg, spec.kwarg) if each is not None)]


def argument_count(root: Path) -> list[str]:
    """A function takes at most 7 arguments; more are a dataclass."""
    return [
        module.fault(node, f"{node.name} takes {len(_arguments(node))} arguments")
        for module in modules(root)
        for node in module.functions()
        if len(_arguments(node)) > ARGUMENTS
    ]


def duplicates(root: Path) -> list[str]:
    """No function of six lines or more stands in the package twice."""
    alike: dict[tuple[Any, ...], list[tuple[Module, Function, list[ast.stmt]]]] = collections.defaultdict(list)
    faults = []
    for module in modules(root):
        for node in module.functions():
            body = node.body[1:] if docstring(node) else node.body
            if body and body[-1].end_lineno - body[0].lineno + 1 >= DUPLICATE_LINES:
                alike[tuple(map(_outline, body))].append((module, node, body))
    # Only bodies of one outline are written out whole, which takes long.
    for bodies in alike.values():
        seen: dict[str, str] = {}
        for module, node, body in bodies if len(bodies) > 1 else ():
            key = "".join(map(ast.dump, body))
            if key in seen:
                faults.append(module.fault(node, f"{node.name} has the body of {seen[key]}"))
            seen.setdefault(key, module.fault(node, node.name))
    return faults


def _outline(statement: ast.stmt) -> tuple[type[ast.AST], ...]:
    """The kinds of the parts of a statement: two that are equal have one outline."""
    return (type(statement), *(type(each) for each in ast.iter_child_nodes(statement)))


# ---- what a reader is told


def annotations(root: Path) -> list[str]:
    """Every argument and every result has a type."""
    faults = []
    for module in modules(root):
        for node in module.functions():
            bare = [each.arg for each in _arguments(node) if each.annotation is None]
            bare += ["return"] if node.returns is None else []
            if bare:
                faults.append(module.fault(node, f"{node.name} has no type for {', '.join(bare)}"))
    return faults


def documented(root: Path) -> list[str]:
    """Every public name has a docstring, and so has every module."""
    faults = []
    for module in modules(root):
        if docstring(module.tree) is None:
            faults.append(module.fault(None, "no docstring"))
        for node, name in module.public_definitions():
            if docstring(node) is None:
                faults.append(module.fault(node, f"{name} has no docstring"))
    return faults


def _shapeless(annotation: ast.AST) -> bool:
    """Whether a tensor stands in an annotation without a shape; mappings and callables are let be."""
    if isinstance(annotation, ast.Name | ast.Attribute):
        return getattr(annotation, "attr", getattr(annotation, "id", "")) == "Tensor"
    if isinstance(annotation, ast.BinOp):
        return _shapeless(annotation.left) or _shapeless(annotation.right)
    if isinstance(annotation, ast.Subscript):
        outer = getattr(annotation.value, "attr", getattr(annotation.value, "id", ""))
        items = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
        shaped = len(items) == 2 and isinstance(items[1], ast.Constant) and isinstance(items[1].value, str)
        open_ended = ("Mapping", "MutableMapping", "dict", "Callable", "OrderedDict")
        return not shaped and outer not in open_ended and any(_shapeless(item) for item in items)
    return False


def shapes(root: Path) -> list[str]:
    """A public function shows the shape of every tensor it takes or gives back."""
    faults = []
    for module in modules(root):
        for node, name in module.public_definitions():
            if not isinstance(node, Function):
                continue
            typed = [(each.arg, each.annotation) for each in _arguments(node)] + [("return", node.returns)]
            bare = [argument for argument, annotation in typed if annotation is not None and _shapeless(annotation)]
            if bare:
                faults.append(module.fault(node, f"{name} shows no shape for {', '.join(bare)}"))
    return faults


def exports(root: Path) -> list[str]:
    """Every module with code has an `__all__`; one that defines something starts with the annotations of the future."""
    faults = []
    for module in modules(root):
        body = module.tree.body[1:] if docstring(module.tree) else module.tree.body
        if not body or module.stem == "__main__":
            continue
        defines = any(isinstance(node, Function | ast.ClassDef) for node in body)
        if defines and (not isinstance(body[0], ast.ImportFrom) or body[0].module != "__future__"):
            faults.append(module.fault(None, "no `from __future__ import annotations` on top"))
        if module.public_names() is None:
            faults.append(module.fault(None, "no `__all__`"))
    return faults


def vague_names(root: Path) -> list[str]:
    """No module is called `utils` or the like."""
    paths = sorted(path.relative_to(root) for path in root.rglob("*"))
    return [f"{path.as_posix()}: says nothing about what is in it" for path in paths if path.stem in VAGUE]


TREE_CHECKS: dict[str, Callable[[Path], list[str]]] = {
    check.__name__: check
    for check in (
        *(arrow, independent_papers, attention_in_nn, hooks_by_protocol, *ROOM_CHECKS),
        *(function_length, file_length, argument_count, duplicates),
        *(annotations, documented, shapes, exports, vague_names),
    )
}


# ---- the project around the package


def heavy_imports(statement: str, *, search: tuple[Path, ...] = ()) -> list[str]:
    """Heavy packages that `statement`, run in a fresh interpreter, has loaded; `search` goes first on the path."""
    code = (
        f"import sys; sys.path[:0] = {[str(path) for path in search]!r}\n"
        f"{statement}\n"
        f"print('loaded:', *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    if done.returncode:
        return [f"{statement}: {done.stderr.strip().splitlines()[-1]}"]
    return [f"{statement}: loads {name}" for name in done.stdout.rpartition("loaded:")[2].split()]


def forbidden_pins(pyproject: str) -> list[str]:
    """Requirements with anything but one lower bound; those on the package itself are let be."""
    project = tomllib.loads(pyproject)["project"]
    groups = {"dependencies": project.get("dependencies", ()), **project.get("optional-dependencies", {})}
    return [
        f"{group}: {requirement}"
        for group, requirements in groups.items()
        for requirement in requirements
        if not re.fullmatch(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?>=[0-9.]+", requirement)
        and not requirement.startswith("deixis[")
    ] + ([] if re.fullmatch(r">=[0-9.]+", project["requires-python"]) else ["requires-python"])


# Written in pieces, so that this file does not find itself: what stands in a trace, and the trace.
_TRACES = {
    ("/" + "work/", "/" + "root/"): r"(?<![\w.:/-])/" + r"(?:work|root)/",
    ("/" + "home/", "/" + "Users/"): r"(?<![\w.:/-])/" + r"(?:home|Users)/\w",
    ("/opt/" + "wheels",): r"/opt/" + "wheels",
    ("pypi" + ".org",): "pypi" + r"\.org",
    ("pythonhosted" + ".org",): "pythonhosted" + r"\.org",
    ("registry" + ".npmjs",): "registry" + r"\.npmjs",
    ("debian" + ".org",): "(?:deb|security)" + r"\.debian\.org",
    ("ubuntu" + ".com",): r"archive\." + r"ubuntu\.com",
}
_TRACE = re.compile("|".join(_TRACES.values()))
_TRACE_PARTS = tuple(part for parts in _TRACES for part in parts)


def machine_traces(root: Path, files: list[Path]) -> list[str]:
    """Lines of text files that hold a path of one machine or a host of a package registry."""
    faults = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        lines = text.splitlines() if any(part in text for part in _TRACE_PARTS) else ()
        for number, line in enumerate(lines, 1):
            if found := _TRACE.search(line):
                faults.append(f"{path.relative_to(root).as_posix()}:{number}: {found.group()}")
    return faults


def project_files(root: Path) -> list[Path]:
    """The files that are committed or would be; without git, all that do not look made."""
    command = ["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, text=True)
        paths = [root / name for name in done.stdout.split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        made = {".git", ".venv", "__pycache__", "build", "dist", "runs"}
        paths = [path for path in root.rglob("*") if not made & set(path.relative_to(root).parts)]
    return sorted(path for path in paths if path.is_file())
