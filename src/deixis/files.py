"""Where files lie and how they are written: the cache folder, content hashes, writes that never leave a half file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError

__all__ = [
    "atomic_folder",
    "atomic_path",
    "cache_dir",
    "clear_partial",
    "content_hash",
    "disk_refusal",
    "explained",
    "is_partial",
    "public_name",
    "temporary_folder",
    "write_json",
]

_PARTIAL = re.compile(r"\..+\..{8}\.part")


def cache_dir(*parts: str) -> Path:
    """The folder for what can be fetched or computed again: `$DEIXIS_CACHE`, else `$XDG_CACHE_HOME/deixis`, else
    `~/.cache/deixis`; `parts` name a folder inside. It is not created."""
    root = os.environ.get("DEIXIS_CACHE")
    if not root:
        root = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "deixis")
    return Path(root, *parts)


def content_hash(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def public_name(name: str) -> str:
    """What a model is called where others read it: of a path only its end, of all else the whole.

    >>> public_name("/mnt/models/my-clip"), public_name("hf-hub:organisation/name")
    ('my-clip', 'hf-hub:organisation/name')
    """
    is_address = ":" in name.partition("/")[0]
    return name if is_address else os.path.basename(name.rstrip("/"))


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary path in the same folder; renamed to `path` on success, removed on any failure."""
    target = _target(path)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".part")
    os.close(handle)
    temporary = Path(name)
    try:
        with _locked(temporary), _system_errors():
            yield temporary
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(_mode(0o666))
            temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def is_partial(name: str) -> bool:
    """Whether a file or folder of this name is what `atomic_path` or `atomic_folder` write before it is whole.

    Args:
        name: the last part of a path.
    """
    return _PARTIAL.fullmatch(name) is not None


def clear_partial(path: str | os.PathLike[str]) -> None:
    """Removes what an `atomic_path` to `path`, or to any file in the folder `path`, left when its process was killed.
    What another process is writing stays."""
    target = Path(os.path.realpath(path))
    folder, name = (target, "*") if target.is_dir() else (target.parent, glob.escape(target.name))
    for rest in folder.glob(f".{name}.{'?' * 8}.part"):
        with _locked(rest) as abandoned:
            if abandoned and rest.is_file():
                rest.unlink(missing_ok=True)


@contextlib.contextmanager
def _system_errors() -> Iterator[None]:
    """Makes an `OSError` of what libraries in Rust, as safetensors, say of a disk in words alone."""
    try:
        yield
    except Exception as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None or isinstance(error, OSError | DeixisError):
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a temporary folder beside `path`; takes the name `path` on success (an older one is replaced), is removed
    on any failure (an older one then stays). What processes left that were killed in here, the next one clears away."""
    target, held = _target(path), contextlib.ExitStack()
    _clear_abandoned(target)
    temporary = _new_folder(target, held)
    old = temporary.with_suffix(".old")
    try:
        temporary.chmod(_mode(0o777))
        with _system_errors():
            yield temporary
        if target.is_dir():
            target.replace(old)
        temporary.replace(target)
    finally:
        if old.exists() and not target.exists():
            old.replace(target)
        for rest in (temporary, old):
            shutil.rmtree(rest, ignore_errors=True)
        held.close()


@contextlib.contextmanager
def temporary_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields a folder beside `path`, which is removed in the end. What processes left that were killed in here, the
    next one clears away."""
    target = _target(path)
    _clear_abandoned(target)
    with contextlib.ExitStack() as held:
        temporary = _new_folder(target, held)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _new_folder(target: Path, held: contextlib.ExitStack) -> Path:
    """Makes a temporary folder, which `held` holds. It gets its name then, lest another process takes it for one that
    was left."""
    while True:
        new = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.", suffix=".new"))
        with contextlib.ExitStack() as tried:
            tried.enter_context(_locked(new))
            with contextlib.suppress(FileNotFoundError):  # another process did, before it was held
                temporary = new.rename(new.with_suffix(".part"))
                held.push(tried.pop_all())
                return temporary


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Holds a file or folder; whether it could be had. A lock goes with its process, however that ends."""
    handle = -1
    try:
        try:
            handle = os.open(path, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # another holds it, it is gone, or can't be read, or the file system knows no locks
            yield False
        else:
            yield True
    finally:
        if handle >= 0:
            os.close(handle)


def _clear_abandoned(target: Path) -> None:
    """Removes temporary folders to `target` whose process is gone; an older folder that one had put aside when it was
    killed comes back."""
    name = f".{glob.escape(target.name)}.{'?' * 8}"
    for rest in target.parent.glob(f"{name}.part"):
        with _locked(rest) as abandoned:
            if abandoned:
                shutil.rmtree(rest, ignore_errors=True)
    for new in target.parent.glob(f"{name}.new"):
        with _locked(new) as abandoned, contextlib.suppress(OSError):  # it has its name meanwhile
            if abandoned:
                new.rmdir()
    for old in target.parent.glob(f"{name}.old"):
        if old.with_suffix(".part").exists():
            continue
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.replace(target)


def _target(path: str | os.PathLike[str]) -> Path:
    """The place itself, without links and `..` on the way, and its parent made."""
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _mode(wished: int) -> int:
    """What new files and folders may be read by, here."""
    umask = os.umask(0)
    os.umask(umask)
    return wished & ~umask


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` as indented JSON, atomically; not-a-number is refused, since JSON has none."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def disk_refusal(error: OSError, out: Path, flag: str = "--out") -> DeixisError | None:
    """What a disk refused, in words; None where it was nothing that a user could mend.

    Args:
        error: what the system said.
        out: what was being written; or a folder that is there already, in which it was.
        flag: of the command, by which another place is chosen; or, where there is none, what can be in another place.
    """
    place = out.absolute() if out.is_dir() else out.absolute().parent
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DeixisError(f"The disk is full at {place}.", "Free some space and run again.")
    if error.errno == errno.EFBIG:
        return DeixisError(
            f"A file of {out} would be larger than files may be at {place}.",
            f"Raise the limit (ulimit -f unlimited), or choose another {flag}, on another file system.",
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DeixisError(f"{out} can't be written: {error.strerror}.", f"Choose another {flag}.")
    return None


@contextlib.contextmanager
def explained(out: Path, flag: str = "--out") -> Iterator[None]:
    """Says in words what a disk refuses while `out` is written, see `disk_refusal`.

    Raises:
        DeixisError: the disk is full, or refuses.
    """
    try:
        yield
    except OSError as error:
        if (found := disk_refusal(error, out, flag)) is None:
            raise
        raise found from error
