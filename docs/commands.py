"""The page of the command line, from what the folders of the commands declare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from deixis.apps.common.verbs import Verb

__all__ = ["commands_page"]

_INTRODUCTION = "`deixis COMMAND --help` shows the flags of a command. Each command is a folder of `src/deixis/apps`."


def commands_page(
    verbs: Mapping[str, Verb], made: str, table: Callable[[Sequence[str], Iterable[Sequence[Any]]], str]
) -> str:
    """A table of commands for each group.

    Args:
        verbs: by name, group by group.
        made: the note that the page is generated.
        table: formats a header and rows.
    """
    parts = ["# The command line", made, _INTRODUCTION]
    for group in dict.fromkeys(verb.group for verb in verbs.values()):
        rows = [_row(name, verb) for name, verb in verbs.items() if verb.group == group]
        parts += [
            f"## {group.capitalize()}",
            table(("command", "what it does", "example", "see also", "in Python"), rows),
        ]
    return "\n\n".join(parts) + "\n"


def _row(name: str, verb: Verb) -> tuple[str, ...]:
    see = ", ".join(_linked(each) for each in verb.see)
    return f"`{name} {verb.arguments}`".replace(" `", "`"), verb.summary, f"`{verb.example}`", see, _python(name, verb)


def _linked(name: str) -> str:
    """A verb, or a document beside this page."""
    if not name.endswith(".md"):
        return f"`{name}`"
    path = name.removeprefix("docs/") if name.startswith("docs/") else f"../{name}"
    return f"[{name}]({path})"


def _python(name: str, verb: Verb) -> str:
    return f"`deixis.{name}`" if verb.python else ""
