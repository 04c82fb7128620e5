"""Memory that torch frees is kept for its next tensors.

glibc hands large blocks back to the system as soon as they are freed, and torch frees each state of a network as soon
as the next one is there. So every pass asks for the same pages again, which the kernel clears one by one: with the
starter and batches of 32 images nearly half of the time (race `freed_memory`). When torch is imported, glibc is told to
keep up to a gigabyte of what was freed, and to take blocks of up to half of that from it.

Whoever sets an environment variable of glibc's allocator (`MALLOC_...`, or `glibc.malloc` in `GLIBC_TUNABLES`) has
their own way, and `DEIXIS_FREED_MEMORY=return` leaves everything as it was. Other allocators and other systems are left
alone.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # this is loaded with `import deixis`, which takes as long as Python takes to start
    from collections.abc import Mapping, Sequence
    from types import ModuleType

__all__ = ["KEPT", "RETURN", "install", "keep_freed_memory"]

RETURN = "DEIXIS_FREED_MEMORY"
"""The environment variable; its value `return` leaves glibc as it is."""

KEPT = 1 << 30
"""Bytes of freed memory that a process keeps at most at the end of its heap."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # numbers of glibc's mallopt


def install() -> None:
    """Has freed memory kept from when torch is imported, or from now on if it was."""
    if "torch" in sys.modules:
        keep_freed_memory()
    elif not any(isinstance(each, _Finder) for each in sys.meta_path):
        sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]


def keep_freed_memory(environment: Mapping[str, str] | None = None) -> bool:
    """Tells glibc to keep freed memory; says whether it does.

    Args:
        environment: variables; by default those of the process.
    """
    variables = os.environ if environment is None else environment
    own = variables.get(RETURN) == "return" or "glibc.malloc" in variables.get("GLIBC_TUNABLES", "")
    if sys.platform != "linux" or own or any(name.startswith("MALLOC_") for name in variables):
        return False
    import ctypes  # torch loads it, too; `import deixis` does without

    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # no glibc
        return False
    return bool(mallopt(_MMAP_THRESHOLD, KEPT // 2) and mallopt(_TRIM_THRESHOLD, KEPT))


class _Finder:
    """Finds nothing; notices that torch is looked for."""

    def __init__(self) -> None:
        self._waiting = True

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """As `importlib.abc.MetaPathFinder` has it."""
        if self._waiting and name == "torch":
            self._waiting = False  # it stays in the list, which is being gone through
            keep_freed_memory()
