"""Run folders: one folder a run, taken under its final name only when it is whole."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import os
import platform
import re
import resource
import socket
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from deixis.apps.common.early_checks import require_run
from deixis.errors import DeixisError
from deixis.files import atomic_folder, explained, is_partial
from deixis.indexing.index import Index

__all__ = [
    "Clock",
    "Reservation",
    "free_name",
    "opened_index",
    "reserve",
    "run_folder",
    "versions",
    "writable",
]

_WRITTEN = re.compile(
    r"(split-\d+/)?result\.json|(splits|check|summary|classifier|relevance)\.json|report\.html|trained_on\.txt"
    r"|index/(manifest\.json|lock|(vectors|removed|directions)(-\d+)?\.npy|items(-\d+)?\.jsonl)"
    r"|index/(approximate-\w+\.(usearch|json)|text-(graph\.json|residual\.npy)|(files|unchanged)\.json)"
    r"|model/((config|tokenizer|run)\.json|(adapters|towers|method)\.safetensors)"
    r"|run\.json|(metrics|negatives)\.jsonl|skipped(-\d+)?\.jsonl|(checkpoint-\d+|method)\.safetensors|tensorboard/.+|\..+\.part"
    r"|([\w-]+/){0,2}(table\.(html|png|txt)|plot(-[\w-]+)?\.png|(recipe|shots)\.json|rows\.jsonl|answers\.jpg)"
    r"|README\.md|export\.json|(image|text)(-int8)?\.onnx(\.data)?|(tokenizer|preprocess|deixis_seal|config)\.json"
    r"|(groups|unusual)\.(csv|jpg)|patches\.jpg|respects\.(json|safetensors)|words\.json|(missing|tags|predictions)\.csv"
    r"|(pictures|labels)/[^/]+\.png"
    r"|(preprocessor|tokenizer|open_clip)_config\.json|(open_clip_)?model\.safetensors"
)
"""The files of a run, by path inside its folder: all that may be replaced."""

_MARKS = ("result.json", "run.json", "index/manifest.json", "export.json", "predictions.csv")
"""One of them is in every run, index, export or folder of predictions."""


def opened_index(run: Path, cure: str = "", *, verify: bool = False) -> Index:
    """The index of a run, which lies in the run's folder or is it.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        cure: what to do where there is no such folder.
        verify: whether the index is read whole and compared with its checksums.

    Raises:
        DeixisError: there is no such folder, no index in it, or a damaged one.
    """
    require_run(run, cure)
    return Index.open(run / "index" if (run / "index").is_dir() else run, verify=verify)


class Reservation:
    """The right to write at one place, until this object or its process ends. It leaves no file behind.

    It is a socket in Linux's abstract namespace, so that it also ends with a killed process; on other systems, and
    between machines that share a disk, nothing is reserved.

    Raises:
        OSError: another process has it.
    """

    def __init__(self, place: str) -> None:
        self._socket = None
        if platform.system() == "Linux":
            self._socket = socket.socket(socket.AF_UNIX)
            name = hashlib.sha256(os.fsencode(place)).hexdigest()
            try:
                self._socket.bind(f"\0deixis-{os.getuid()}-{name}")
            except OSError:
                self._socket.close()
                raise

    def __del__(self) -> None:
        if self._socket is not None:
            self._socket.close()


_RESERVED: weakref.WeakValueDictionary[str, Reservation] = weakref.WeakValueDictionary()
_PATIENCE = 2.0
"""Seconds for which a run waits for one that was just killed, whose worker processes still end."""


def reserve(out: Path) -> Reservation | None:
    """Reserves `out` for this process; hold the result for as long as you write.

    Of several ranks the first reserves for all.

    Raises:
        DeixisError: another process writes there.
    """
    place = os.path.realpath(out)
    if os.environ.get("RANK", "0") != "0":
        return None
    end = time.monotonic() + _PATIENCE
    while (mine := _RESERVED.get(place)) is None:
        try:
            _RESERVED[place] = mine = Reservation(place)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None  # a system that forbids such sockets
            if time.monotonic() > end:
                raise DeixisError(
                    f"Another process is writing {out} at this moment.", "Wait for it, or choose another --out."
                ) from error
            time.sleep(0.05)
    return mine


def free_name(out: Path, overwrite: bool) -> Reservation | None:
    """Makes sure, before any work, that a run can be written at `out`, and that nobody else does so meanwhile.

    Returns:
        The reservation of `out`: hold it until the run is written.

    Raises:
        DeixisError: `out` holds something already, its folder can't be written to, or another process writes there.
    """
    writable(out)
    reservation = reserve(out)
    _check_free(out, overwrite)
    return reservation


def _check_free(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise DeixisError(f"{out} is a file; a run is a folder.", "Choose another --out.")
    if not out.is_dir():
        return
    if out.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise DeixisError(f"{out} is the folder you are in, or one above.", "Name one inside it, such as --out run.")
    if all(is_partial(each.name) for each in out.iterdir()):  # or of a run that was killed before anything was whole
        return
    foreign = next((each for each in out.rglob("*") if not each.is_dir() and not _is_of_a_run(each, out)), None)
    if foreign is not None or not any((out / each).is_file() for each in _MARKS):
        what = f", such as {foreign.relative_to(out)}" if foreign is not None else ""
        raise DeixisError(f"{out} is a folder with other files in it{what}.", "Choose another --out.")
    if not overwrite:
        raise DeixisError(f"{out} holds another run.", "Choose another --out, or replace it with --overwrite.")


def _is_of_a_run(path: Path, out: Path) -> bool:
    return _WRITTEN.fullmatch(path.relative_to(out).as_posix()) is not None


def writable(out: Path) -> None:
    """Makes sure that a file or folder of this name can be made; nothing is left behind.

    Raises:
        DeixisError: it can't, and why.
    """
    place = out.absolute().parent
    try:
        place = next(each for each in (place, *place.parents) if each.exists())
        with tempfile.TemporaryDirectory(dir=place, prefix=f".{out.name}.", suffix=".part"):
            pass
    except OSError as error:
        raise DeixisError(f"{out} can't be written in {place}: {error.strerror}.", "Choose another --out.") from error


@contextlib.contextmanager
def run_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yields a temporary folder that becomes `out` when all went well, and is removed when not.

    Args:
        out: the run folder.
        overwrite: replace the run that is there, be it one that was not there when the work began.

    Raises:
        DeixisError: `out` has been taken meanwhile, or the disk is full or refuses.
    """
    _reservation = free_name(out, overwrite)
    with explained(out), atomic_folder(out) as folder:
        yield folder


class Clock:
    """Wall and processor seconds since it was made, and the peak memory of the process and its children."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), self._processor()

    @staticmethod
    def _processor() -> float:
        times = os.times()
        return times.user + times.system + times.children_user + times.children_system

    def read(self) -> dict[str, float]:
        """`total` and `cpu`, in seconds."""
        return {
            "total": round(time.perf_counter() - self._wall, 2),
            "cpu": round(self._processor() - self._cpu, 2),
        }

    @staticmethod
    def peak_mb() -> float:
        """The largest resident size of this process plus that of its largest child, in megabytes."""
        own, child = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return round((own + child) / 1024, 1)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    packages = ("deixis", "torch", "torchvision", "timm", "tokenizers", "numpy", "pillow")
    found = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
