"""Where fetched sets lie: a folder each in the cache, with the marker `set.json` in a finished one.

Nothing of a set is part of deixis: the user's own package client brings it, and it is left with its licence beside.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deixis.data.datasets.sources.packages import debian_package
from deixis.errors import DeixisError
from deixis.files import atomic_folder, cache_dir, write_json

__all__ = ["MARKER", "finished", "from_debian", "home", "set_name", "workshop", "writing"]

MARKER = "set.json"
"""A file in the folder of a finished set: where it came from."""


def set_name(module: str) -> str:
    """The name of the set that a module of `data/datasets` declares, from its `__name__`."""
    return module.rpartition(".")[2].replace("_", "-")


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
    """Yields a folder for what is downloaded on the way to a set: retained if the block fails, so that complete files
    are not fetched again, and removed if it ends well.

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
        facts: in the marker, such as `licence`; the block may add to the dictionary that is yielded beside.
    """
    with atomic_folder(cache_dir("sets", name)) as folder:
        marker: dict[str, Any] = {"name": name, **facts}
        yield folder, marker
        write_json(folder / MARKER, marker)


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
        say: receives what is being done, a line at a time.

    Raises:
        DeixisError: the package cannot be had; see `packages.debian_package`.
    """
    with workshop(name) as work:
        unpacked = debian_package(package, work, say)
        with writing(name, licence=licence, package=package, version=unpacked.version) as (folder, marker):
            share = unpacked.folder / "usr/share"
            notice = share / "doc" / package / "copyright"
            if notice.is_file():
                shutil.copyfile(notice, folder / "copyright")
            yield share, folder, marker
    say(f"{name}: {marker['files']} files in {home(name)}")
