"""Which files of an index have stayed as they were, by size and times, so that an update need not read them.

    INDEX/files.json    path -> size in bytes, times of change of content and of entry in nanoseconds, SHA-256

The second time also tells a file that another took the place of under its old time (`cp -p`, `rsync -t`). A file that
was changed while it was read, or up to two seconds before, is not listed: a later change within one tick of the clock
would go unseen.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path

from deixis.files import write_json
from deixis.types import Sample

__all__ = ["FILE", "KnownFile", "State", "forget_known_files", "read_known_files", "unchanged", "write_known_files"]

FILE = "files.json"
FORMAT = 1

State = tuple[int, int, int]
"""Size in bytes, times of change of content and of entry in nanoseconds."""

KnownFile = tuple[State, str]
"""How a file was, and the SHA-256 of its content."""

_TICK = 2 * 10**9  # nanoseconds: the coarsest clock of a file system, FAT's


def read_known_files(index: Path) -> dict[str, KnownFile]:
    """What was listed, by path; nothing where the list is missing or damaged, as all files are read then.

    Args:
        index: the folder of the index.
    """
    try:
        facts = json.loads((index / FILE).read_text(encoding="utf-8"))
        files = facts["files"] if facts["format"] == FORMAT else {}
        return {path: ((int(a), int(b), int(c)), str(digest)) for path, (a, b, c, digest) in files.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def forget_known_files(index: Path) -> None:
    """Has the next update read all files.

    Args:
        index: the folder of the index.
    """
    (index / FILE).unlink(missing_ok=True)


def unchanged(samples: Sequence[Sample], known: Mapping[str, KnownFile], hashes: Container[str]) -> dict[int, str]:
    """Number of a sample -> hash of its file, for those whose size and times are as listed.

    Args:
        samples: pictures inside archives, and drawn ones, are none of them.
        known: as `read_known_files` gives it.
        hashes: of the contents that the index holds vectors of.
    """
    found = {}
    for number, sample in enumerate(samples):
        if not isinstance(sample.picture, Path):
            continue
        state, digest = known.get(str(sample.picture.absolute()), (None, ""))
        if state is not None and digest in hashes and _state(sample.picture) == state:
            found[number] = digest
    return found


def write_known_files(
    index: Path,
    samples: Sequence[Sample],
    hashes: Sequence[str],
    begun: int,
    *,
    before: Mapping[str, KnownFile] | None = None,
    paths: Iterable[str] = (),
) -> None:
    """Lists the files of samples, and of those listed before the ones that the index still holds.

    Args:
        index: the folder of the index.
        samples: that were read.
        hashes: of the content of each.
        begun: when the first of them was read, in nanoseconds, as `time.time_ns` gives it.
        before: what was listed before.
        paths: of all items of the index.
    """
    listed = {path: before[path] for path in paths if path in before} if before else {}
    latest = min(begun, time.time_ns()) - _TICK
    for sample, digest in zip(samples, hashes, strict=True):
        if not isinstance(sample.picture, Path):
            continue
        path, state = str(sample.picture.absolute()), _state(sample.picture)
        if state is not None and max(state[1:]) < latest:
            listed[path] = state, digest
        else:
            listed.pop(path, None)
    rows = {path: [*state, digest] for path, (state, digest) in listed.items()}
    write_json(index / FILE, {"format": FORMAT, "files": rows})


def _state(path: Path) -> State | None:
    """Size and times; None where there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
