"""Reads the code blocks of the documents: what runs, what does not, and what needs a download first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["PROJECT", "Block", "blocks", "commands", "documents", "make_targets", "summary"]

PROJECT = Path(__file__).parents[1]
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^`]*)$")
_SLOW = "<!-- slow -->"


class Block(NamedTuple):
    """A fenced block.

    Attributes:
        document: the file it stands in.
        line: of its first line of code, from 1.
        language: the first word after the fence.
        flags: the further words, such as `no-run`.
        code: what stands between the fences.
        slow: whether `<!-- slow -->` stands between the last heading and the block.
    """

    document: Path
    line: int
    language: str
    flags: tuple[str, ...]
    code: str
    slow: bool

    @property
    def runs(self) -> bool:
        return self.language == "python" and "no-run" not in self.flags


def documents(root: Path = PROJECT) -> list[Path]:
    """README, CONTRIBUTING and all of docs, as far as they are there."""
    found = [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]
    return [path for path in found if path.is_file()]


def blocks(document: Path) -> list[Block]:
    """The fenced blocks of a document, in order."""
    found: list[Block] = []
    slow, open_at, indent, info, code = False, 0, "", [], []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        fence = _FENCE.match(line)
        if open_at and fence and not fence["info"].strip():
            language, *flags = info or [""]
            found.append(Block(document, open_at + 1, language, tuple(flags), "\n".join(code) + "\n", slow))
            open_at = 0
        elif open_at:
            code.append(line.removeprefix(indent))
        elif fence:
            open_at, indent, info, code = number, fence["indent"], fence["info"].split(), []
        elif line.startswith("#"):
            slow = False
        elif line.strip() == _SLOW:
            slow = True
    if open_at:
        raise ValueError(f"{document}:{open_at}: a block is opened and never closed")
    return found


def commands(document: Path) -> Iterator[tuple[int, str]]:
    """The commands of console blocks (lines after `$ `), with their line numbers; a `\\` at the end goes on."""
    for block in blocks(document):
        if block.language != "console":
            continue
        lines = enumerate(block.code.splitlines(), block.line)
        for number, line in lines:
            if line.startswith("$ "):
                command = line[2:]
                while command.endswith("\\"):
                    command = command[:-1] + next(lines)[1].strip()
                yield number, command


def make_targets(makefile: Path) -> set[str]:
    """The targets of a Makefile that have a name of letters."""
    return set(re.findall(r"^([a-z]+):", makefile.read_text(encoding="utf-8"), re.MULTILINE))


def summary(root: Path = PROJECT) -> str:
    """How many Python blocks of the documents run, and which do not."""
    found = [block for document in documents(root) for block in blocks(document) if block.language == "python"]
    running = [block for block in found if block.runs]
    slow = sum(block.slow for block in running)
    spared = [f"{block.document.relative_to(root)}:{block.line}" for block in found if not block.runs]
    text = f"documents: {len(running)} Python blocks run, {slow} of them slow"
    return f"{text}; not run: {', '.join(spared) or 'none'}"
