"""Whether a folder is as it was when an index last took it in; then an update has nothing to do. Does not import torch.

    INDEX/unchanged.json    path of a folder -> a hash of all that its last update rested on, and what that update said

The hash is of the names, sizes and times of all files in the folder (texts and tables beside the pictures, too), of how
it was read and by which versions, and of the index: its manifest, `files.json` and the files of its model. Where any of
these is another one, the update looks at each file by itself (`known_files`). Nothing is remembered of a folder in
which something could not be read, since that is tried each time; of one that changed while it was read, or up to two
seconds before; and of data that are not the images of one folder.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deixis.apps.common.console import Reporter
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import opened_index, versions
from deixis.apps.index.index_diff import Changed
from deixis.apps.index.known_files import FILE as KNOWN_FILES
from deixis.apps.index.known_files import trusted_before
from deixis.data.readers.formats.folders import Walk
from deixis.errors import DeixisError
from deixis.files import content_hash, write_json
from deixis.indexing.index import Index
from deixis.types import Source

__all__ = [
    "FILE",
    "FolderState",
    "Outcome",
    "folder_state",
    "outcome_before",
    "remember",
    "say_if_unchanged",
    "sentence",
]

FILE = "unchanged.json"
FORMAT = 1


class FolderState(NamedTuple):
    """A folder as it lies there.

    Attributes:
        path: of the folder, absolute.
        images: names of its images, relative to it.
        digest: of the names, sizes and times of all its files.
        latest: of the times, in nanoseconds.
    """

    path: str
    images: tuple[str, ...]
    digest: str
    latest: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an update does that finds all as it was.

    Attributes:
        kept: pictures of the collection.
        others: pictures of other collections in the index.
        notes: that the reader of the folder made.
    """

    kept: int
    others: int = 0
    notes: tuple[str, ...] = ()

    def say(self, run: Path, talk: Reporter) -> Changed:
        """Says what the update did, and returns it.

        Args:
            run: that holds the index.
            talk: receives the messages.
        """
        for note in self.notes:
            talk.say(note)
        changed = Changed(kept=self.kept)
        talk.result(sentence(run, changed, self.others))
        return changed


def sentence(run: Path, changed: Changed, others: int) -> str:
    """What an update did, in words.

    Args:
        run: that holds the index.
        changed: in the collection.
        others: pictures of other collections.
    """
    rest = f" {others} of other collections are as they were." if others else ""
    return f"{run}: {changed.sentence}{rest}"


def folder_state(data: object) -> FolderState | None:
    """The state of DATA; None where it is no folder, not all of it can be read, or each of several ranks would look.

    Args:
        data: as `deixis.apps.index.index.update` takes it.
    """
    if not isinstance(data, str | Path) or not os.path.isdir(data) or os.environ.get("WORLD_SIZE", "1") != "1":
        return None
    walk, start = Walk(Path(data)), f"{os.path.realpath(data)}{os.sep}"
    if walk.skipped:
        return None
    try:
        found = [os.stat(start + name) for name in walk.files]
    except OSError:  # it went meanwhile
        return None
    numbers = [number for each in found for number in (each.st_size, each.st_mtime_ns, each.st_ctime_ns)]
    states = np.array(numbers, np.int64).reshape(-1, 3)
    digest = hashlib.sha256("\0".join(walk.files).encode("utf-8", "surrogateescape"))
    digest.update(states.tobytes())
    latest = int(states[:, 1:].max(initial=0))
    return FolderState(str(Path(data).absolute()), tuple(walk.images), digest.hexdigest(), latest)


def outcome_before(opened: Index, run: Path, state: FolderState | None, reading: Reading | None) -> Outcome | None:
    """What the last update of this folder found, if all that it rested on is as it was.

    Args:
        opened: the index.
        run: that holds it, with its model.
        state: of the folder, now.
        reading: how it is to be read.
    """
    if state is None:
        return None
    facts = _read(opened.folder).get(state.path)
    with contextlib.suppress(TypeError, KeyError, ValueError, OSError):
        if facts is not None and facts["state"] == _digest(opened, run, state, reading):
            return Outcome(int(facts["kept"]), int(facts["others"]), tuple(map(str, facts["notes"])))
    return None


def remember(
    opened: Index,
    run: Path,
    before: FolderState | None,
    source: Source,
    reading: Reading | None,
    begun: int,
    others: int = 0,
) -> None:
    """Writes down what an update found, for the next one; nothing where the next must look at each file again.

    Args:
        opened: the index, as the update left it.
        run: that holds it, with its model.
        before: the state of the folder before it was read.
        source: what was read.
        reading: how.
        begun: when, in nanoseconds, as `time.time_ns` gives it.
        others: pictures of other collections.
    """
    # Another process may have changed the index since it was written.
    if before is None or source.skipped or len(opened) != len(source.samples) + others:
        return
    start = "" if str(source.root) == "." else f"{str(source.root).rstrip(os.sep)}{os.sep}"
    read = {str(each.image) for each in source.samples if isinstance(each.image, Path)}
    # What changed since `before` differs from it when it is looked at again.
    if before.latest >= trusted_before(begun) or read != {start + name for name in before.images}:
        return
    outcome = Outcome(len(source.samples), others, source.notes)
    with contextlib.suppress(OSError, ValueError):  # the next update takes longer, and that is all
        known = _read(opened.folder)
        new = {"state": _digest(opened, run, before, reading), **dataclasses.asdict(outcome)}
        new = json.loads(json.dumps(new))
        if known.get(before.path) != new:
            write_json(opened.folder / FILE, {"format": FORMAT, "folders": {**known, before.path: new}})


def say_if_unchanged(data: Sequence[str], run: Path, reading: Reading, talk: Reporter) -> bool:
    """Says of each of several collections that it is unchanged, if all are; else says nothing.

    Args:
        data: as the command line has them.
        run: that holds the index.
        reading: how they are to be read.
        talk: receives the messages.
    """
    try:
        opened = opened_index(run)
    except DeixisError:  # which the update tells of
        return False
    if not (opened.folder / FILE).is_file():
        return False
    outcomes = list[Outcome]()
    for each in data:
        outcome = outcome_before(opened, run, folder_state(each), reading)
        if outcome is None:
            return False
        outcomes.append(outcome)
    for outcome in outcomes:
        outcome.say(run, talk)
    return bool(outcomes)


def _read(index: Path) -> dict[str, Any]:
    """What was written down, by folder; nothing where that is missing or damaged."""
    try:
        facts = json.loads((index / FILE).read_text(encoding="utf-8"))
        return dict(facts["folders"]) if facts["format"] == FORMAT else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _digest(opened: Index, run: Path, state: FolderState, reading: Reading | None) -> str:
    """A hash of all that an update rests on.

    Raises:
        OSError: the model or the list of files is not there.
    """
    model = sorted((each.name, *_times(each)) for each in os.scandir(run / "model"))
    if not any(name == "config.json" for name, *_ in model):
        raise FileNotFoundError(run / "model" / "config.json")
    rests_on = {
        "versions": versions(),
        "reading": dataclasses.asdict(reading or Reading()),
        "folder": [state.path, state.digest],
        "manifest": hashlib.sha256(opened.source).hexdigest(),
        "files": content_hash(opened.folder / KNOWN_FILES),
        "model": model,
    }
    return hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode()).hexdigest()


def _times(entry: os.DirEntry[str]) -> tuple[int, int, int]:
    found = entry.stat()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns
