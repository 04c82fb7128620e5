"""Disks that refuse, in this process alone: full, or read-only from some moment on."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["FULL", "READ_ONLY", "Disk", "no_file_longer", "refusing"]

FULL, READ_ONLY = errno.ENOSPC, errno.EROFS

_MAKING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_NEW = ("os.mkdir", "os.link", "os.symlink", "sqlite3.connect")
_ANY = (*_NEW, "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.chmod")


class Disk:
    """What lies below a folder.

    Attributes:
        place: the folder.
        number: of the error; 0: it refuses nothing.
        after: changes that it lets through before it refuses all that follow.
        seen: changes so far.
    """

    def __init__(self, place: Path, number: int = 0, after: int = 0) -> None:
        self.place, self.number, self.after, self.seen = os.path.realpath(place), number, after, 0

    def heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Counts a change, or refuses it; a full disk still lets files be removed and renamed."""
        names = _NEW if self.number == FULL else _ANY
        if event == "open":
            if not isinstance(arguments[2], int) or not arguments[2] & _MAKING:
                return
        elif event not in names:
            return
        if not isinstance(arguments[0], str | bytes) or not os.path.realpath(os.fsdecode(arguments[0])).startswith(
            self.place + os.sep
        ):
            return
        self.seen += 1
        if self.number and self.seen > self.after:
            raise OSError(self.number, os.strerror(self.number), os.fsdecode(arguments[0]))


_disks: list[Disk] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    for disk in _disks:
        disk.heard(event, arguments)


_installed: list[bool] = []


@contextlib.contextmanager
def refusing(place: Path, number: int = 0, after: int = 0) -> Iterator[Disk]:
    """A folder in which nothing can be changed after so many changes; without a number they are counted only.

    Args:
        place: the folder.
        number: `FULL` or `READ_ONLY`.
        after: changes that are let through.
    """
    if not _installed:  # a hook stays until the process ends
        sys.addaudithook(_hook)
        _installed.append(True)
    disk = Disk(place, number, after)
    _disks.append(disk)
    try:
        yield disk
    finally:
        _disks.remove(disk)


@contextlib.contextmanager
def no_file_longer(size: int) -> Iterator[None]:
    """Writes that would make a file longer than so many bytes fail, those of libraries in C too (EFBIG)."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
