"""The file that an item of an index was read from."""

from __future__ import annotations

import functools
import os
from pathlib import Path

from deixis.data.readers.tars import listing
from deixis.types import Member

__all__ = ["find_picture"]


def find_picture(place: str) -> Path | Member | None:
    """The file that an item was read from: one by itself, or one inside a shard.

    Args:
        place: as `types.place` gives it.

    Returns:
        None if it is not there any more, or lies where it can't be read again, such as in a table.
    """
    path = Path(place)
    if os.path.isfile(path):
        return path
    archive = next((each for each in path.parents if os.path.isfile(each)), None)
    if archive is not None and archive.suffix == ".tar":
        return _entries(archive, archive.stat().st_mtime_ns).get(path.relative_to(archive).as_posix())
    return None


@functools.lru_cache(maxsize=64)
def _entries(archive: Path, changed: int) -> dict[str, Member]:
    return {name: Member(archive, name, offset, size) for name, offset, size in listing(archive).entries}
