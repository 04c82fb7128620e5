"""The verbs of the command line: folders of `apps` with a `command.py`, found by listing; nothing else is imported."""

from __future__ import annotations

import importlib
import os
from collections import namedtuple
from collections.abc import Mapping

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` takes as long to load as the rest of `deixis --help`
    from typing import Any

__all__ = ["GROUPS", "Verb", "command", "read_verb", "verbs"]

GROUPS = ("your pictures", "pictures, one by one", "data", "methods")
"""Headings of `deixis --help`, in this order; others follow them."""

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # pathlib takes longer to load than all else here
_START = "\nVERB = "


_Verb = namedtuple(
    "_Verb",
    ["summary", "example", "arguments", "see", "group", "order", "python", "what", "output", "rare"],
    defaults=("", (), "", 0, "", (), (), ()),
)


class Verb(_Verb):
    """What `apps/NAME/command.py` declares as `VERB`, a literal, beside `run`, whose signature is the flags.

    Where the file also has `rewrite`, that gets the arguments first and returns those that are parsed.

    Attributes:
        summary: one line for `deixis --help`.
        example: a command that works as it stands.
        arguments: the positional ones, as `deixis --help` shows them.
        see: verbs and documents to go on with.
        group: the heading it stands under, see `GROUPS`.
        order: among the verbs of its group; equal ones stand by name.
        python: the module with the Python function of the verb's name, which `deixis.NAME` gives; empty: there is none.
        what: flags that say what is worked on, without their hyphens.
        output: flags that say what is written or printed, beside `out`, `overwrite` and `quiet`.
        rare: flags that are seldom needed, and shown last.
    """

    __slots__ = ()


def read_verb(name: str, root: str | os.PathLike[str] = _HERE) -> Verb | None:
    """What a verb declares, read from its source without importing it; None where there is no such verb.

    Only the literal itself is parsed: `deixis --help` reads all of them, and must not be waited for.

    Args:
        name: of the folder.
        root: the folder of all verbs.

    Raises:
        TypeError: the file declares no `VERB`.
    """
    if not name.isidentifier():
        return None
    try:
        with open(os.path.join(root, name, "command.py"), encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    _, start, rest = text.partition(_START)
    line = rest.partition("\n")[0]
    literal = line if line.endswith(")") else rest.partition("\n)\n")[0] + "\n)"
    if not start or not literal.startswith("Verb("):
        raise TypeError(f"{name}/command.py declares no `VERB = Verb(...)`")
    verb: Verb = eval(literal, {"__builtins__": {}, "Verb": Verb})
    return verb


def verbs(root: str | os.PathLike[str] = _HERE) -> Mapping[str, Verb]:
    """All verbs by name, group by group.

    Args:
        root: the folder of all verbs.
    """
    declared = {name: read_verb(name, root) for name in sorted(os.listdir(root))}
    found = {name: verb for name, verb in declared.items() if verb is not None}
    groups = dict.fromkeys([*GROUPS, *(verb.group for verb in found.values())])
    places = {group: place for place, group in enumerate(groups)}
    order = sorted(found, key=lambda name: (places[found[name].group], found[name].order, name))
    return {name: found[name] for name in order}


def command(name: str) -> Any:
    """Imports the `command.py` of a verb: its module holds `VERB` and `run`."""
    return importlib.import_module(f"deixis.apps.{name}.command")
