"""Which files of an index have stayed as they were, by size and times, so that an update need not read them.

    INDEX/files.json    path -> size in bytes, times of change of content and of entry in nanoseconds, SHA-256, and what
                        the header says (see `deixis.data.readers.embedded`) where it was read

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
from typing import Any, NamedTuple

from deixis.data.readers.embedded import Headers
from deixis.files import atomic_path
from deixis.types import Sample

__all__ = [
    *("FILE", "Before", "KnownFile", "State", "forget_known_files", "known_header", "read_known_files"),
    *("trusted_before", "unchanged", "write_known_files"),
]

FILE = "files.json"
FORMAT = 1

State = tuple[int, int, int]
"""Size in bytes, times of change of content and of entry in nanoseconds."""


class KnownFile(NamedTuple):
    """How a file was, the SHA-256 of its content, and the columns that its header brings, if that was read."""

    state: State
    digest: str
    header: Mapping[str, Any] | None = None


class Before(NamedTuple):
    """What was known before an update.

    Attributes:
        listed: as `read_known_files` gives it.
        unread: paths of the samples that were as listed, and so not read.
        paths: of all items of the index, after the update.
    """

    listed: Mapping[str, KnownFile]
    unread: Container[str]
    paths: Iterable[str]


_TICK = 2 * 10**9  # nanoseconds: the coarsest clock of a file system, FAT's


def read_known_files(index: Path) -> dict[str, KnownFile]:
    """What was listed, by path; nothing where the list is missing or damaged, as all files are read then.

    Args:
        index: the folder of the index.
    """
    try:
        facts = json.loads((index / FILE).read_text(encoding="utf-8"))
        files = facts["files"] if facts["format"] == FORMAT else {}
        return {
            path: KnownFile((int(a), int(b), int(c)), str(digest), dict(header[0]) if header else None)
            for path, (a, b, c, digest, *header) in files.items()
        }
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
        path = str(sample.picture.absolute())
        listed = known.get(path)
        if listed is not None and listed.digest in hashes and _state(path) == listed.state:
            found[number] = listed.digest
    return found


def known_header(known: Mapping[str, KnownFile], path: str) -> Mapping[str, Any] | None:
    """The columns that the header of a file brings; None where they are not known of the file as it is now.

    Args:
        known: as `read_known_files` gives it.
        path: absolute.
    """
    listed = known.get(path)
    return None if listed is None or listed.header is None or _state(path) != listed.state else listed.header


def write_known_files(
    index: Path,
    samples: Sequence[Sample],
    hashes: Sequence[str],
    begun: int,
    headers: Headers,
    before: Before | None = None,
) -> None:
    """Lists the files of samples, and of those listed before the ones that the index still holds. A list that says the
    same already is not written again.

    Args:
        index: the folder of the index.
        samples: that were read.
        hashes: of the content of each.
        begun: when the first of them was read, in nanoseconds, as `time.time_ns` gives it.
        headers: of the files whose header is known.
        before: what was known before; None where there was no index.
    """
    known, unread, paths = before or Before({}, (), ())
    listed = {path: known[path] for path in paths if path in known}
    latest = trusted_before(begun)
    for sample, digest in zip(samples, hashes, strict=True):
        if not isinstance(sample.picture, Path):
            continue
        path = str(sample.picture.absolute())
        header = headers.get(path)
        if path in unread:
            listed[path] = known[path] if header is None else known[path]._replace(header=header)
            continue
        state = _state(path)
        if state is not None and max(state[1:]) < latest:
            listed[path] = KnownFile(state, digest, header)
        else:
            listed.pop(path, None)
    if listed == known and (index / FILE).is_file():
        return
    rows = {
        path: [*each.state, each.digest, *([] if each.header is None else [each.header])]
        for path, each in listed.items()
    }
    with atomic_path(index / FILE) as temporary:  # without indentation, in a tenth of the time
        temporary.write_text(json.dumps({"format": FORMAT, "files": rows}) + "\n", encoding="utf-8")


def trusted_before(begun: int) -> int:
    """A file whose times are all before this one, in nanoseconds, is one that a later change gives other times; the
    clock may have gone back meanwhile.

    Args:
        begun: when the first file was read, in nanoseconds, as `time.time_ns` gives it.
    """
    return min(begun, time.time_ns()) - _TICK


def _state(path: str) -> State | None:
    """Size and times; None where there is no such file."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
