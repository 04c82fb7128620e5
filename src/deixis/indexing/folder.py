"""An index folder: what lies in it, what its manifest says of it, and who may write.

    vectors.npy     one row of length 1 an item; float32 or float16 [N, D]
    items.jsonl     one JSON object a row, in the same order: id, path, captions, whatever a caller wants back
    codes.npy       where 8 bits are scanned in place of the vectors: int8 [N, D]; see `codes`
    scales.npy      what a code stands for, float32 [N]
    removed-3.npy   rows that were taken out, where they are too many for the manifest
    directions.npy  where vectors are coordinates: of what directions, float32 [D, d]; see `directions`
    manifest.json   format, model, fingerprint, which files make up the index, their sizes and SHA-256
    lock            held by whoever writes

A pair of vectors and items is a segment; the first has the plain names, later ones have a number. No file but the
manifest is ever changed. A change writes new files beside those in use, then replaces the manifest in one step, then
removes what the new one no longer names. So a folder is at any moment what its manifest says, and files that it does
not name are what a killed writer left. Readers take no lock: they read the manifest again once everything is open.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.files import clear_partial, write_json

__all__ = [
    "FORMAT",
    "MANIFEST",
    "damaged",
    "files_named",
    "locked",
    "manifest_bytes",
    "next_number",
    "now",
    "of_an_index",
    "parse_manifest",
    "sync",
    "tidy",
    "write_manifest",
]

FORMAT = 2
MANIFEST, _LOCK = "manifest.json", "lock"
_NAME = r"(vectors|removed|directions|codes|scales)(-\d+)?\.npy|items(-\d+)?\.jsonl"
_GRAPH = r"approximate-[0-9a-f]{16}\.(usearch|json)"  # not the manifest's, but named after it
_BESIDE = r"(files|unchanged)\.json|text-(graph\.json|residual\.npy)"  # what searches and updates are quicker with
_DATA = re.compile(_NAME)
_OTHER = re.compile(rf"{_BESIDE}|\.({_BESIDE})\..{{8}}\.part")
_PARTS = re.compile(rf"{_NAME}|{_GRAPH}|\.(manifest\.json|{_GRAPH})\..{{8}}\.part")
_KEYS: dict[str, Any] = {"model": str, "fingerprint": str, "dtype": str, "width": int, "count": int}
_KEYS |= {"segments": list, "removed": list | str, "files": dict, "created": str, "changed": str}
_SEGMENT = {"count": int, "vectors": str, "items": str}
_CODED = {"codes": str, "scales": str, "lost": float}


def damaged(path: Path, why: str) -> DeixisError:
    """The error that names a damaged file, with the cure."""
    return DeixisError(f"The index file {path} is damaged ({why}).", "Make the index again: deixis index DATA")


def now() -> str:
    """The time as manifests tell it."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def manifest_bytes(folder: Path) -> bytes:
    """The manifest as it lies there.

    Raises:
        DeixisError: there is none, so this is no index; or it can't be read.
    """
    path = folder / MANIFEST
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DeixisError(f"{folder} is no index: it has no {MANIFEST}.", "Make one: deixis index DATA") from error
    except OSError as error:
        raise damaged(path, error.strerror or "can't be read") from error


def parse_manifest(folder: Path, data: bytes) -> dict[str, Any]:
    """Reads a manifest; one of format 1 is told as one of format 2 with a single segment.

    Raises:
        DeixisError: it is damaged, or of a format that this version does not read.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise damaged(path, "no JSON") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
        raise damaged(path, "no format version")
    if manifest["format"] not in (1, FORMAT):
        raise DeixisError(
            f"The index {folder} has format {manifest['format']}, this version of deixis reads format {FORMAT}.",
            "Upgrade deixis (pip install -U deixis), or make the index again: deixis index DATA",
        )
    if manifest["format"] == 1:
        manifest = _from_format_1(folder, manifest)
    elif manifest.get("sha256") != _seal(manifest):
        raise damaged(path, "its contents are not what was written")
    _check(path, manifest)
    return manifest


def _from_format_1(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Format 1 had one pair of files, both named by their hashes, and no sizes."""
    names, hashes = ("vectors.npy", "items.jsonl"), manifest.get("sha256")
    sizes = {name: (folder / name).stat().st_size if (folder / name).is_file() else -1 for name in names}
    known = isinstance(hashes, dict) and all(isinstance(hashes.get(name), str) for name in names)
    return {
        **manifest,
        "dtype": "float32",
        "segments": [{"count": manifest.get("count"), "vectors": names[0], "items": names[1]}],
        "removed": [],
        "files": {name: {"bytes": sizes[name], "sha256": hashes[name]} for name in names} if known else None,  # type: ignore[index]
        "changed": manifest.get("created"),
    }


def _check(path: Path, manifest: Mapping[str, Any]) -> None:
    wrong = [key for key, kind in _KEYS.items() if not isinstance(manifest.get(key), kind)]
    if not wrong:
        wrong = [key for key, right in _claims(manifest).items() if not right]
    if wrong:
        raise damaged(path, f"bad or missing: {', '.join(wrong)}")


def _claims(manifest: Mapping[str, Any]) -> dict[str, bool]:
    segments, removed, files = manifest["segments"], manifest["removed"], manifest["files"]
    wanted = _SEGMENT | (_CODED if "scan" in manifest else {})
    whole = all(
        isinstance(each, dict) and all(isinstance(each.get(key), kind) for key, kind in wanted.items())
        for each in segments
    )
    rows = sum(each["count"] for each in segments) if whole else 0
    gone = len(removed) if isinstance(removed, list) else rows - manifest["count"]
    listed = not isinstance(removed, list) or all(isinstance(row, int) and 0 <= row < rows for row in removed)
    described = all(
        _DATA.fullmatch(name)
        and isinstance(facts, dict)
        and isinstance(facts.get("bytes"), int)
        and isinstance(facts.get("sha256"), str)
        for name, facts in files.items()
    )
    return {
        "dtype": manifest["dtype"] in ("float32", "float16"),
        "scan": manifest.get("scan", "int8") == "int8",
        "width": manifest["width"] >= 1,
        "dims": isinstance(manifest.get("dims", 0), int) and 0 <= manifest.get("dims", 0) < manifest["width"],
        "directions": ("dims" in manifest) == isinstance(manifest.get("directions"), str),
        "segments": whole and all(each["count"] >= 1 for each in segments),
        "count": manifest["count"] == rows - gone and manifest["count"] >= (1 if manifest["format"] == 1 else 0),
        "removed": listed,
        "files": described and (not whole or files_named(manifest) == set(files)),
    }


def _seal(manifest: Mapping[str, Any]) -> str:
    bare = {key: value for key, value in manifest.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(bare, sort_keys=True).encode()).hexdigest()


def files_named(manifest: Mapping[str, Any]) -> set[str]:
    """The names of all files that make up an index, less the manifest."""
    kinds = ("vectors", "items", *(("codes", "scales") if "scan" in manifest else ()))
    names = {each[kind] for each in manifest["segments"] for kind in kinds}
    names |= {manifest["directions"]} if "directions" in manifest else set()
    return names | ({manifest["removed"]} if isinstance(manifest["removed"], str) else set())


def graph_name(manifest: bytes, kind: str) -> str:
    """How a file of the approximate search is called that belongs to this very manifest; see `approximate`."""
    return f"approximate-{hashlib.sha256(manifest).hexdigest()[:16]}.{kind}"


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Makes the folder what `manifest` says, in one step, once its files are safe on the disk."""
    sync(folder)
    write_json(folder / MANIFEST, {**manifest, "sha256": _seal(manifest)})
    sync(folder)


def sync(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the right to change an index folder, or says at once that another process has it.

    Raises:
        DeixisError: another process is writing.
    """
    with open(folder / _LOCK, "ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DeixisError(
                f"Another process is changing the index {folder}.", "Wait until it has finished, then run this again."
            ) from error
        yield


def of_an_index(name: str) -> bool:
    """Whether a file of this name may lie in an index folder."""
    return name in (MANIFEST, _LOCK) or any(known.fullmatch(name) for known in (_PARTS, _OTHER))


def next_number(folder: Path) -> int:
    """A number that no file of the folder has yet; 1 stands for the names without a number."""
    names = [entry.name for entry in folder.iterdir() if _DATA.fullmatch(entry.name)]
    return max((int(match[1]) if (match := re.search(r"-(\d+)", name)) else 1 for name in names), default=0) + 1


def tidy(folder: Path) -> None:
    """Removes the files that the manifest does not name: those of before, or what a killed or failed writer left.

    Only for who holds the lock. Where there is a manifest that can't be read, everything stays.
    """
    try:
        data = manifest_bytes(folder)
        named = files_named(parse_manifest(folder, data))
        named |= {graph_name(data, kind) for kind in ("usearch", "json")}
    except DeixisError:
        if (folder / MANIFEST).exists():
            return
        named = set()
    for entry in list(folder.iterdir()):
        if _PARTS.fullmatch(entry.name) and entry.name not in named:
            entry.unlink(missing_ok=True)
    clear_partial(folder)  # of files beside the index, which are written without the lock
