"""Which tests took too long to be among the fast ones: `make slow-list` measures all and writes tests/slow_list.txt.

A marker in the source makes all cases of a test slow. Most tests run over methods, layouts or files, and of these only
some cases take long; these stand in the list, so that the fast ones stay where they are read.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable
from pathlib import Path

__all__ = ["LIMIT", "LIST", "listed", "names", "too_long"]

LIST = Path(__file__).with_suffix(".txt")

LIMIT = 0.05
"""Seconds that a fast test may take on two idle cores; with 8,700 of them that is the most for 90 s in all."""

_TOOK = re.compile(r"([\d.]+)s call +(tests/\S+::.*)")


def too_long(lines: Iterable[str]) -> list[str]:
    """The names of the tests that took longer, in order.

    Args:
        lines: what `pytest --durations=0` writes.
    """
    found = filter(None, map(_TOOK.match, lines))
    return sorted(match[2].rstrip() for match in found if float(match[1]) > LIMIT)


@functools.cache
def listed() -> frozenset[str]:
    """The names in the list."""
    return frozenset(LIST.read_text(encoding="utf-8").splitlines())


def names(name: str) -> tuple[str, str]:
    """The file and the function of a test's name."""
    file, _, function = name.partition("::")
    return file, function.partition("[")[0]


if __name__ == "__main__":
    LIST.write_text("".join(f"{name}\n" for name in too_long(sys.stdin)), encoding="utf-8")
