"""Changes of an index on the disk: each of them whole or not at all, one writer at a time.

What is added becomes a new segment. Segments before it that are not at least twice as long as what follows them are
written into it again. So their number grows with the logarithm of the rows, and so does how often a row is copied: a
million rows are in ten segments or fewer. More would do no harm while each has a thousand rows (a search of 40,000 in
40 segments took as long as in one; in 160 a fifth longer, in 640 twice as long), but few files are easier to look
after.

Rows that are removed are only noted, until they are a quarter of all: a search passes over them, but scores them all
the same, so it takes up to a third longer than it could. Then all is written again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from deixis.errors import DeixisError
from deixis.files import content_hash, disk_refusal
from deixis.indexing.directions import Storage, principal_directions
from deixis.indexing.folder import (
    FORMAT,
    MANIFEST,
    damaged,
    files_named,
    locked,
    next_number,
    now,
    of_an_index,
    tidy,
    write_manifest,
)
from deixis.indexing.index import Index
from deixis.indexing.segments import ROWS, Segment, encoded, live_rows, unit, write_codes, write_rows, write_segment

__all__ = ["add", "annotate", "build", "change", "remove", "replace"]

SMALL = 4096
"""Segments that together are no longer than this are written as one: some hundredths of a second."""

SHARE = 0.25
"""Of the rows removed, from which on all are written again: until then a search takes at most a third longer."""

LISTED = 1000
"""Removed rows that the manifest itself lists; more go into a file."""

_KEPT = ("model", "fingerprint", "dtype", "scan", "width", "dims", "directions", "created", "compute")
"""Of the manifest, what no change of the index changes."""

_ID = r'\{"id": ("[^"\\]*(?:\\.[^"\\]*)*")'
_FIRST, _OTHERS = re.compile(_ID.encode()), re.compile(rb"\n" + _ID.encode())


def add(folder: str | os.PathLike[str], vectors: Float[np.ndarray, "N D"], items: Sequence[Mapping[str, Any]]) -> Index:
    """Adds items whose ids the index does not have; see `change`."""
    return change(folder, vectors=vectors, items=items)


def remove(folder: str | os.PathLike[str], ids: Sequence[str]) -> Index:
    """Removes the items of these ids; see `change`."""
    return change(folder, removed=ids)


def replace(
    folder: str | os.PathLike[str], vectors: Float[np.ndarray, "N D"], items: Sequence[Mapping[str, Any]]
) -> Index:
    """Puts items in the place of those with their ids; those with new ids are added. See `change`."""
    return _change(Path(folder), vectors, items, (), replacing=True)


def change(
    folder: str | os.PathLike[str],
    *,
    vectors: Float[np.ndarray, "N D"] | None = None,
    items: Sequence[Mapping[str, Any]] = (),
    removed: Sequence[str] = (),
) -> Index:
    """Removes and adds items, all of it in one step, and opens the index as it is then.

    Killed at any point, or on a full disk, the index stays as it was. Who has it open goes on with it as it was.

    Args:
        folder: an index.
        vectors: one an item that is added, brought to length 1 here [N, D].
        items: what is added, each with an `id`. One whose old item is removed in the same step takes its place.
        removed: ids of items to remove.

    Raises:
        DeixisError: no index, or a damaged one; an id that is there already, twice, or not there; vectors of another
            width, without direction, or not as many as items; another process that is writing.
    """
    return _change(Path(folder), vectors, items, removed, replacing=False)


def _change(
    folder: Path,
    vectors: Float[np.ndarray, "N D"] | None,
    items: Sequence[Mapping[str, Any]],
    removed: Sequence[str],
    replacing: bool,
) -> Index:
    new = np.zeros((0, 0), np.float32) if vectors is None else vectors
    _check_counts(new, items)
    with _explained(folder):
        with _writing(folder):
            index = Index.open(folder)
            if len(items) and new.shape[1] != index.width:
                raise DeixisError(
                    f"The vectors have {new.shape[1]} numbers, those of the index {folder} have {index.width}.",
                    f"Encode with the model that made the index, {index.manifest['model']!r}.",
                )
            live = np.ones(index.rows, bool) if index.live is None else index.live.copy()
            live[_rows_to_remove(index, items, removed, replacing)] = False
            if len(items) or len(removed):
                _write(index, live, new, items)
        return Index.open(folder)


def build(
    folder: str | os.PathLike[str],
    vectors: Float[np.ndarray, "N D"],
    items: Sequence[Mapping[str, Any]],
    *,
    model: str,
    fingerprint: str,
    dtype: str | Storage = "float32",
    compute: Mapping[str, Any] | None = None,
) -> Index:
    """Writes an index folder, whole or not at all, and opens it. An index that is there already is replaced.

    Args:
        folder: where it goes.
        vectors: one a row, brought to length 1 here [N, D]; may be a memory map.
        items: what each row stands for, as JSON objects; paths become strings. The `id` is what `remove` and `replace`
            know an item by.
        model: name of the model that made the vectors.
        fingerprint: of that model, see `Index.expect`.
        dtype: how vectors are stored: `float32`, or `float16` in half the space, whose scores differ from the third
            or fourth digit on; `int8` is `float32` with codes in 8 bits, which searches read in its place, with the
            same answers; a `Storage` says also how many numbers of each.
        compute: on which device and in which precision the vectors were made, for the record.

    Raises:
        DeixisError: nothing to index, counts that differ, an id twice, a vector without direction, more numbers than
            vectors have, a folder that holds something else, or one that another process is writing.
    """
    folder, storage = Path(folder), dtype if isinstance(dtype, Storage) else Storage(dtype)
    if not len(items):
        raise DeixisError("There is nothing to index: no items were given.", "Give at least one.")
    _check_counts(vectors, items)
    _unique([item["id"] for item in items if "id" in item])
    if storage.dtype not in ("float32", "float16", "int8"):
        raise DeixisError(
            f"Vectors can't be stored as {storage.dtype!r}.", "Store them as float32 or float16, or scan them as int8."
        )
    directions = principal_directions(unit(vectors, "Vector"), storage.dims) if storage.dims else None
    is_new = not (folder.exists() or folder.is_symlink())
    _refuse_foreign(folder, is_new)
    folder.mkdir(parents=True, exist_ok=True)
    head: dict[str, Any] = {"model": model, "fingerprint": fingerprint, "dtype": storage.dtype}
    head |= {"dtype": "float32", "scan": "int8"} if storage.dtype == "int8" else {}
    head |= {"compute": dict(compute)} if compute else {}
    manifest = {**head, "format": FORMAT, "width": vectors.shape[1], "segments": [], "removed": [], "files": {}}
    try:
        with _writing(folder):
            manifest |= {} if directions is None else _write_directions(folder, directions)
            empty = Index(folder, {**manifest, "count": 0, "created": now()}, ())
            _write(empty, np.zeros(0, bool), vectors, items)
    except BaseException:
        if is_new and not (folder / MANIFEST).exists():
            (folder / "lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
    return Index.open(folder)


def _write_directions(folder: Path, directions: Float[np.ndarray, "D R"]) -> dict[str, Any]:
    """A new file of directions, and what the manifest says of it."""
    number = next_number(folder)
    name = "directions.npy" if number == 1 else f"directions-{number}.npy"
    facts = write_rows(folder / name, directions.shape, directions.dtype, [directions])
    return {"dims": directions.shape[1], "directions": name, "files": {name: facts}}


def _refuse_foreign(folder: Path, is_new: bool) -> None:
    if not is_new and not (folder.is_dir() and all(of_an_index(entry.name) for entry in folder.iterdir())):
        raise DeixisError(f"{folder} is there already and is no index, so it is not replaced.", "Name another folder.")


@contextlib.contextmanager
def _explained(folder: Path) -> Iterator[None]:
    """Says in words what a disk refuses a change; of a new index the run says it, of which the index is a part."""
    try:
        yield
    except OSError as error:
        if (found := disk_refusal(error, folder, "place for the index")) is None:
            raise
        raise DeixisError(f"{found.found} The index is whole.", found.cure) from error


@contextlib.contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Holds the lock; what a writer before, or this one, leaves unnamed is removed, however it ends."""
    if not folder.is_dir():
        raise DeixisError(f"{folder} is no index: there is no such folder.", "Make one: deixis index DATA")
    with locked(folder):
        tidy(folder)
        try:
            yield
        finally:
            tidy(folder)


def annotate(folder: str | os.PathLike[str], measured: Index, name: str, facts: Mapping[str, Any]) -> Index:
    """Writes into the manifest what was measured of an index as it is; any later change of the index drops it.

    Args:
        folder: of the index.
        measured: the index as it was opened.
        name: of the key.
        facts: what JSON can hold.

    Raises:
        DeixisError: the index has changed since, or another process is writing.
    """
    folder = Path(folder)
    with _writing(folder):
        if measured.changed():
            raise DeixisError(f"The index {folder} has changed meanwhile.", "Run this again.")
        kept = {key: value for key, value in measured.manifest.items() if key != "sha256"}
        write_manifest(folder, {**kept, name: dict(facts)})
    return Index.open(folder)


def _check_counts(vectors: Float[np.ndarray, "N D"], items: Sequence[Mapping[str, Any]]) -> None:
    if len(vectors) != len(items):
        raise DeixisError(f"{len(vectors)} vectors were given for {len(items)} items.", "Give one vector an item.")


def _unique(ids: Sequence[object]) -> None:
    if len(set(ids)) < len(ids):
        seen: set[object] = set()
        twice = next(each for each in ids if each in seen or seen.add(each))  # type: ignore[func-returns-value]
        raise DeixisError(f"The id {twice!r} was given twice.", "Give each item an id of its own.")


def _rows_to_remove(
    index: Index, items: Sequence[Mapping[str, Any]], removed: Sequence[str], replacing: bool
) -> list[int]:
    """The rows of what is removed or replaced; refuses ids that are missing, or there when they should not be."""
    nameless = next((place for place, item in enumerate(items) if not isinstance(item.get("id"), str)), None)
    if nameless is not None:
        raise DeixisError(f"Item {nameless} has no id.", "Give each item an `id`, a text that no other has.")
    new = [item["id"] for item in items]
    _unique(new)
    _unique(removed)
    known = _rows_of(index, {*removed, *new})
    absent = next((each for each in removed if each not in known), None)
    if absent is not None:
        raise DeixisError(f"The index {index.folder} has no item with the id {absent!r}.", "Nothing was changed.")
    rows = [known.pop(each) for each in removed]
    there = [each for each in new if each in known]
    if there and not replacing:
        more = f", and {len(there) - 1} more" if len(there) > 1 else ""
        raise DeixisError(
            f"The index {index.folder} has an item with the id {there[0]!r} already{more}.",
            "Replace it instead of adding it (indexing.changes.replace), or give it another id.",
        )
    return rows + [known[each] for each in there]


def _rows_of(index: Index, ids: Set[str]) -> dict[str, int]:
    """The rows of those ids that are there; most lines need not be parsed, since their id comes first."""
    rows: dict[str, int] = {}
    wanted = {json.dumps(each).encode("ascii"): each for each in ids}
    for segment in index.segments if ids else ():
        first = _FIRST.match(segment.lines.data)
        found = [*([first[1]] if first else []), *_OTHERS.findall(segment.lines.data)]
        if len(found) != len(segment):
            found = [json.dumps(item.get("id")).encode("ascii") for item in segment.lines.items()]
        there = [(row, wanted[each]) for row, each in enumerate(found, segment.start) if each in wanted]
        rows |= {id: row for row, id in there if index.live is None or index.live[row]}
    return rows


def _write(
    index: Index, live: Bool[np.ndarray, " N"], vectors: Float[np.ndarray, "M D"], items: Sequence[Mapping[str, Any]]
) -> None:
    """Writes what is new, and what of the old is due to be written again, and lets the manifest tell of it."""
    folder, old = index.folder, index.manifest
    kept = _kept([int(np.count_nonzero(_of(live, each))) for each in index.segments], len(items), _share(live))
    again = index.segments[kept:]
    stays = sum(len(each) for each in index.segments[:kept])
    count = int(np.count_nonzero(live[stays:])) + len(items)
    number = next_number(folder)
    entries, files = [*old["segments"][:kept]], dict(old["files"])
    if count and (len(items) or again):
        for entry in old["segments"][kept:]:
            _compare_hashes(folder, old, (entry["vectors"], entry["items"]))
        shape = (count, old.get("dims") or index.width)
        blocks = _vectors(again, live, vectors, index.directions)
        entry, new = write_segment(folder, number, shape, old["dtype"], blocks, _lines(again, live, items))
        files |= new
        if "scan" in old:
            entry, new = write_codes(folder, entry)
            files |= new
        entries.append(entry)
    gone = np.flatnonzero(~live[:stays]).astype(np.int64)
    listed: list[int] | str = gone.tolist()
    if len(gone) > LISTED:
        listed = f"removed-{number}.npy"
        files[listed] = write_rows(folder / listed, gone.shape, gone.dtype, [gone])
    manifest = {
        **{key: old[key] for key in _KEPT if key in old},
        "format": FORMAT,
        "count": int(np.count_nonzero(live)) + len(items),
        "segments": entries,
        "removed": listed,
        "changed": now(),
    }
    write_manifest(folder, {**manifest, "files": {name: files[name] for name in sorted(files_named(manifest))}})


def _of(live: Bool[np.ndarray, " N"], segment: Segment) -> Bool[np.ndarray, " M"]:
    return live[segment.start : segment.start + len(segment)]


def _share(live: Bool[np.ndarray, " N"]) -> float:
    return 1 - float(live.mean()) if len(live) else 0.0


def _kept(counts: Sequence[int], added: int, removed: float) -> int:
    """How many segments stay as they are; those behind are written again, together with what is added.

    Args:
        counts: live rows of each.
        added: rows that come.
        removed: share of the rows that are there but removed.
    """
    if removed > SHARE:
        return 0
    kept, last = len(counts), added
    while kept and added and (counts[kept - 1] < 2 * last or counts[kept - 1] + last <= SMALL):
        kept -= 1
        last += counts[kept]
    return kept


def _vectors(
    again: Sequence[Segment],
    live: Bool[np.ndarray, " N"],
    new: Float[np.ndarray, "M _"],
    directions: Float[np.ndarray, "D R"] | None,
) -> Iterator[Float[np.ndarray, "_ R"]]:
    for _, part in live_rows(again, live):
        yield part
    for start in range(0, len(new), ROWS):
        part = unit(new[start : start + ROWS], "Vector", start)
        yield part if directions is None else unit(part @ directions, "Vector", start)


def _lines(
    again: Sequence[Segment], live: Bool[np.ndarray, " N"], items: Sequence[Mapping[str, Any]]
) -> Iterator[bytes]:
    for segment in again:
        for row in np.flatnonzero(_of(live, segment)).tolist():
            yield segment.lines[row] + b"\n"
    yield from encoded(items)


def _compare_hashes(folder: Path, manifest: Mapping[str, Any], names: Sequence[str]) -> None:
    """Refuses to copy what is damaged, which the copy's own hash would hide."""
    for name in names:
        if content_hash(folder / name) != manifest["files"][name]["sha256"]:
            raise damaged(folder / name, f"its contents have changed since {manifest['changed']}")
