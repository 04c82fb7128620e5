"""What the image files of a folder say of themselves, as columns."""

from __future__ import annotations

import contextlib
import contextvars
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.data.readers.captions import BROKEN_XMP, Tally, excerpt
from deixis.inputs.metadata import metadata
from deixis.inputs.read_ahead import read_ahead
from deixis.types.samples import Skipped

__all__ = ["Headers", "embedded_captions", "embedded_columns", "known_headers"]

_THREADS, _AHEAD = 8, 256

Headers = dict[str, Mapping[str, Any]]
"""Absolute path of an image -> its columns, empty where it brings none."""

_Known = Callable[[str], Mapping[str, Any] | None]
_MEMORY: contextvars.ContextVar[tuple[_Known, Headers] | None] = contextvars.ContextVar("headers", default=None)


@contextlib.contextmanager
def known_headers(known: _Known) -> Iterator[Headers]:
    """While it lasts, folders are read without opening the files whose columns are known; yields the columns of all
    images of such folders, but for those with broken XMP, which is read and told of each time.

    Args:
        known: the columns of the file at an absolute path; None where it must be read.
    """
    headers: Headers = {}
    token = _MEMORY.set((known, headers))
    try:
        yield headers
    finally:
        _MEMORY.reset(token)


def embedded_columns(root: Path, images: Sequence[str], skipped: list[Skipped]) -> dict[str, dict[str, Any]]:
    """Name of an image -> its columns, of those that bring any; XMP that is broken is added to `skipped`."""
    known, headers = _MEMORY.get() or (_nothing, Headers())
    place = f"{str(root.absolute()).rstrip(os.sep)}{os.sep}"  # `os.path.join` takes as long as to look a path up
    found = {name: known(place + name) for name in images}
    unread = [name for name, columns in found.items() if columns is None]
    threads = min(_THREADS, len(os.sched_getaffinity(0)))
    with read_ahead(lambda name: metadata(root / name), unread, threads=threads, ahead=_AHEAD) as results:
        for name, read in zip(unread, results, strict=True):
            found[name] = read.columns()
            if read.broken:
                skipped.append(Skipped(name, BROKEN_XMP, excerpt(read.broken, 200)))
    broken = {each.path for each in skipped}
    headers.update((place + name, each or {}) for name, each in found.items() if name not in broken)
    return {name: dict(columns) for name, columns in found.items() if columns}


def _nothing(path: str) -> None:
    return None


def embedded_captions(
    columns: Mapping[str, Mapping[str, Any]], names: Sequence[str], tally: Tally
) -> dict[str, tuple[str, ...]]:
    """Name of an image -> its captions, taken from these columns."""
    captions = {}
    for image, values in columns.items():
        texts = (values[name] for name in names if name in values)
        captions[image] = tally.clean((", ".join(text) if isinstance(text, list) else text for text in texts), image)
    return {image: texts for image, texts in captions.items() if texts}
