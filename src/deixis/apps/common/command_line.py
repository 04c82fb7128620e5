"""The flags of a verb: the arguments of its function, and the fields of the dataclasses among them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import os
import re
import shutil
import textwrap
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from deixis.apps.common.early_checks import check_paths
from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.verbs import Verb
from deixis.errors import DeixisError

__all__ = ["Flag", "flags", "help_text", "parse_and_run"]

_OUTPUT = ("out", "overwrite", "quiet")
_READING = tuple(field.name for field in dataclasses.fields(Reading))
_COMPUTE = tuple(field.name for field in dataclasses.fields(ComputeSettings))
_INDENT, _WIDEST = 26, 110
_KINDS = {int: "INT", float: "FLOAT", str: "TEXT"}
_ENTRY = re.compile(r" {4}(\w+): (.*)")


class Flag(NamedTuple):
    """One argument of a verb.

    Attributes:
        name: in Python.
        kind: its type.
        default: None where there is none.
        text: what the docstring says.
        positional: whether it is given without its name.
        required: whether it must be given.
    """

    name: str
    kind: Any
    default: Any
    text: str
    positional: bool
    required: bool


def flags(function: Callable[..., Any]) -> list[Flag]:
    """The arguments of a function, those of dataclasses among them field by field."""
    hints, texts, found = typing.get_type_hints(function), _documented(function), []
    for name, each in inspect.signature(function).parameters.items():
        if dataclasses.is_dataclass(hints[name]):
            found += _fields(hints[name], each.default)
            continue
        required = each.default is inspect.Parameter.empty
        positional = each.kind is inspect.Parameter.POSITIONAL_ONLY
        default = None if required else each.default
        found.append(Flag(name, hints[name], default, texts.get(name, ""), positional, required))
    return found


def _fields(settings: Any, values: Any) -> list[Flag]:
    hints, texts = typing.get_type_hints(settings), dict[str, str]()
    for each in reversed(settings.__mro__):
        texts |= _documented(each) if dataclasses.is_dataclass(each) else {}
    return [
        Flag(field.name, hints[field.name], getattr(values, field.name), _text(field, texts), False, False)
        for field in dataclasses.fields(settings)
    ]


def _text(field: dataclasses.Field[Any], texts: Mapping[str, str]) -> str:
    """The docstring's text, and the choices of a field whose metadata name them: `{"choices": function}`."""
    choices = field.metadata.get("choices")
    text = texts.get(field.name, "")
    return f"{text} Choices: {', '.join(choices())}." if choices else text


def _documented(of: Any) -> dict[str, str]:
    """Name -> what the section `Args:` or `Attributes:` of a docstring says of it."""
    found: dict[str, str] = {}
    _, _, section = re.sub(r"\n(Args|Attributes):\n", "\0", inspect.getdoc(of) or "").partition("\0")
    for line in section.splitlines():
        if entry := _ENTRY.fullmatch(line):
            found[entry[1]] = entry[2]
        elif found and line.startswith(" " * 8):
            found[next(reversed(found))] += f" {line.strip()}"
        elif line.strip():
            break
    return found


# Help


def help_text(name: str, verb: Verb, function: Callable[..., Any]) -> str:
    """What `deixis NAME --help` prints: what it does, an example, where to go on; then the flags, the rare ones last.

    Args:
        name: of the verb.
        verb: what it declares.
        function: whose arguments are the flags.
    """
    said, *more = inspect.cleandoc((function.__doc__ or "").partition("Args:")[0]).split("\n\n")
    lines = [" ".join(said.split()), f"Example: {verb.example}", f"See also: {', '.join(verb.see) or 'deixis --help'}"]
    width = min(_WIDEST, shutil.get_terminal_size((100, 24)).columns)
    for paragraph in filter(str.strip, more):
        lines += ["", *textwrap.wrap(paragraph, width)]
    for title, group in _grouped(verb, flags(function)):
        lines += ["", title, *(line for flag in group for line in _entry(flag, width))]
    return "\n".join([*lines, ""])


def _grouped(verb: Verb, all_flags: Sequence[Flag]) -> Iterator[tuple[str, list[Flag]]]:
    groups: dict[str, list[Flag]] = {
        "Arguments:": [flag for flag in all_flags if flag.positional],
        **{
            title: []
            for title in ("What:", "How:", "Output:", "How DATA is read:", "Where it computes:", "Rarely needed:")
        },
    }
    for flag in all_flags:
        if flag.positional:
            continue
        title = "Rarely needed:" if flag.name in verb.rare else "How:"
        title = "Output:" if flag.name in (*_OUTPUT, *verb.output) else title
        title = "How DATA is read:" if flag.name in _READING else title
        title = "Where it computes:" if flag.name in _COMPUTE else title
        groups["What:" if flag.name in verb.what else title].append(flag)
    groups["What:"].sort(key=lambda flag: verb.what.index(flag.name))
    return ((title, group) for title, group in groups.items() if group)


def _entry(flag: Flag, width: int) -> list[str]:
    name = flag.name.replace("_", "-")
    if flag.positional:
        head = flag.name.upper() + " ..." * (typing.get_origin(flag.kind) is tuple)
    elif flag.kind is bool:
        head = f"--{name}, --no-{name}"
    else:
        head = f"--{name} {_metavar(flag.kind)}"
    text = " ".join(filter(None, (flag.text, _default(flag))))
    lines = textwrap.wrap(text, max(width - _INDENT, 20), break_on_hyphens=False) or [""]
    first = f"  {head:<{_INDENT - 2}}"
    start = [first + lines.pop(0)] if len(first) == _INDENT and first.endswith(" ") else [first.rstrip()]
    return [*start, *(" " * _INDENT + line for line in lines)]


def _metavar(kind: Any) -> str:
    """How a value of a type is written."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"{{{','.join(map(str, arguments))}}}"
    if origin is tuple:
        return f"{_metavar(arguments[0])} ..."
    if origin in (types.UnionType, typing.Union):
        return _metavar(next(each for each in arguments if each is not type(None)))
    return _KINDS.get(kind, "TEXT")


def _default(flag: Flag) -> str:
    if flag.required:
        return "(required)"
    if flag.kind is bool:
        return "(on)" if flag.default else ""
    if isinstance(flag.default, tuple):
        return f"({' '.join(map(str, flag.default))})" if flag.default else ""
    return "" if flag.default in (None, "") else f"({flag.default})"


# Running


def parse_and_run(name: str, function: Callable[..., Any], arguments: Sequence[str]) -> int:
    """Reads the flags of a verb and runs it.

    Args:
        name: of the verb.
        function: whose arguments are the flags; it gives the exit code, or nothing.
        arguments: what stands behind the verb on the command line.
    """
    import tyro

    _check_several(function, arguments)
    words = _joined(arguments, [flag.name for flag in flags(function) if typing.get_origin(flag.kind) is tuple])

    @functools.wraps(function)
    def checked(*values: Any, **named: Any) -> Any:
        check_paths(inspect.signature(function).bind(*values, **named).arguments)
        return function(*values, **named)

    return int(tyro.cli(checked, prog=f"deixis {name}", args=words, config=(tyro.conf.OmitArgPrefixes,)) or 0)


def _check_several(function: Callable[..., Any], arguments: Sequence[str]) -> None:
    """Refuses a list of files, into which a shell turns a pattern, where one DATA is wanted."""
    positional = [flag for flag in flags(function) if flag.positional]
    if [(flag.name, flag.kind) for flag in positional] != [("data", str)]:
        return
    words = list(itertools.takewhile(lambda word: not word.startswith("-"), arguments))
    if len(words) > 1 and all(map(os.path.exists, words)):
        raise DeixisError(
            f"{len(words)} files were given, and DATA is one.",
            "Give their folder, or the pattern itself in quotation marks, such as 'photos/*.jpg'.",
        )


def _joined(arguments: Sequence[str], lists: Sequence[str]) -> list[str]:
    """Arguments in which a flag that takes several values stands once: `--model a --model b` is `--model a b`, where
    the later would replace the earlier."""
    spelled = {f"--{name.replace('_', '-')}" for name in lists} | {f"--{name}" for name in lists}
    found: list[str] = []
    values: dict[str, list[str]] = {}
    into = found
    for word in arguments:
        name, equals, value = word.partition("=")
        if name in spelled:
            into = values.setdefault(name.replace("_", "-"), [])
            into += [value] if equals else []
        elif word.startswith("--"):
            into = found
            found.append(word)
        else:
            into.append(word)
    return [*found, *(word for name, some in values.items() for word in (name, *some))]
