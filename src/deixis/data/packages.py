"""Files out of package registries, without root and without installing: `apt-get download` and `npm pack`.

The package client of the user's own machine does the fetching, so mirrors, proxies and checksums are those that are set
up there. Nothing of a package is run; only files whose names stay inside the target folder are unpacked.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from deixis.errors import DeixisError
from deixis.files import content_hash

__all__ = ["Unpacked", "copy_files", "debian_package", "npm_package", "unpack_tar"]

APT_LISTS = Path("/var/lib/apt/lists")
_APT_OPTIONS = ("-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", "-o", "Acquire::https::Timeout=30")
_NO_NETWORK = (
    "could not resolve",
    "temporary failure",
    "could not connect",
    "unable to connect",
    "connection timed out",
    "connection failed",
    "network is unreachable",
    "enotfound",
    "eai_again",
    "econnrefused",
    "econnreset",
    "etimedout",
    "err_socket_timeout",
    "enetunreach",
    "ehostunreach",
)


class Unpacked(NamedTuple):
    """What was fetched: the folder holding the package's files, and the version it is."""

    folder: Path
    version: str


def debian_package(name: str, into: Path, say: Callable[[str], None]) -> Unpacked:
    """Downloads a Debian package with apt-get, which checks it against the signed index, and unpacks it.

    Args:
        name: the package, such as `tuxpaint-stamps-default`.
        into: an existing folder; the files come to lie in `into/NAME`.
        say: told what is being done, a line at a time.

    Raises:
        DeixisError: apt-get or dpkg-deb is missing, the lists are empty or old, the package is unknown, there is no
            network, or the package cannot be unpacked.
    """
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise DeixisError(
                f"The Debian package {name!r} is fetched with {tool}, which is not on this machine.",
                "Use Debian or Ubuntu for this one, or give deixis a folder of your own images.",
            )
    with tempfile.TemporaryDirectory(dir=into, prefix=".apt-") as work:
        say(f"apt-get download {name}")
        done = _run(["apt-get", *_APT_OPTIONS, "download", name], Path(work))
        archives = sorted(Path(work).glob("*.deb"))
        if done.returncode != 0 or not archives:
            raise _apt_error(name, done.stderr + done.stdout)
        say(f"unpacking {archives[0].name} ({archives[0].stat().st_size / 1e6:.0f} MB)")
        target = into / name
        unpacked = _run(["dpkg-deb", "-x", str(archives[0]), str(target)], Path(work))
        if unpacked.returncode != 0:
            raise DeixisError(
                f"The package {archives[0].name} could not be unpacked: {_last_line(unpacked.stderr)}",
                f"Check the free space on {into}, then try again.",
            )
        version = _run(["dpkg-deb", "-f", str(archives[0]), "Version"], Path(work)).stdout.strip()
    return Unpacked(target, version)


def npm_package(name: str, version: str, into: Path, say: Callable[[str], None], *, sha256: str = "") -> Unpacked:
    """Downloads a package with npm, running none of its scripts, and unpacks it.

    Args:
        name: the package, such as `emojibase-data`.
        version: the exact version.
        into: an existing folder; the files come to lie in a folder inside.
        say: told what is being done, a line at a time.
        sha256: the archive's SHA-256, hexadecimal, if pinned.

    Raises:
        DeixisError: npm is missing, the package or version is unknown, there is no network, the archive is not the
            pinned one, or it cannot be unpacked.
    """
    if shutil.which("npm") is None:
        raise DeixisError(
            f"The npm package {name!r} is fetched with npm, which is not on this machine.",
            "Install it (Debian, Ubuntu: sudo apt-get install npm) and try again.",
        )
    with tempfile.TemporaryDirectory(dir=into, prefix=".npm-") as work:
        say(f"npm pack {name}@{version}")
        done = _run(["npm", "pack", f"{name}@{version}", "--ignore-scripts", "--fetch-retries=2"], Path(work))
        archives = sorted(Path(work).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            raise _npm_error(f"{name}@{version}", done.stderr + done.stdout)
        if sha256 and content_hash(archives[0]) != sha256:
            raise DeixisError(
                f"What npm sent for {name}@{version} has SHA-256 {content_hash(archives[0])}, not {sha256}.",
                "Check which registry npm uses (npm config get registry) and that it is the usual one.",
            )
        say(f"unpacking {archives[0].name} ({archives[0].stat().st_size / 1e6:.0f} MB)")
        target = into / name.replace("/", "-").lstrip("@")
        unpack_tar(archives[0], target)
    return Unpacked(target / "package", version)


def unpack_tar(archive: Path, into: Path, *, limit: int = 2_000_000_000) -> int:
    """Unpacks the plain files of a tar archive (links, devices and empty folders are passed over).

    Args:
        archive: the file, compressed or not.
        into: the folder to write to; made if missing.
        limit: the most bytes that may come out.

    Returns:
        The number of files written.

    Raises:
        DeixisError: a name would lie outside `into`, more than `limit` bytes come out, or the archive is damaged.
    """
    count, total = 0, 0
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                target = into / _safe_name(member.name, archive)
                total += member.size
                if total > limit:
                    raise DeixisError(f"The archive {archive.name} holds more than {limit} bytes.", "It is refused.")
                content = tar.extractfile(member) if member.isreg() else None
                if content is None:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as file:
                    shutil.copyfileobj(content, file)
                count += 1
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DeixisError(f"The archive {archive.name} could not be unpacked: {error}", "Try again.") from error
    return count


def copy_files(source: Path, target: Path, suffixes: Sequence[str]) -> int:
    """Copies the plain files with these suffixes from one folder tree into another, links left out.

    Raises:
        DeixisError: there is not one such file.
    """
    count = 0
    for path in sorted(source.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file() and not path.is_symlink():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place)
            count += 1
    if not count:
        wanted = " or ".join(suffixes)
        raise DeixisError(f"The package holds no {wanted} file where it should.", "Its layout may have changed.")
    return count


def _safe_name(name: str, archive: Path) -> PurePosixPath:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or ":" in "".join(pure.parts[:1]):
        raise DeixisError(f"The archive {archive.name} names a file outside its folder: {name!r}.", "It is refused.")
    return pure


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C", "npm_config_update_notifier": "false"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E:", "npm error", "npm ERR!"))]
    return (errors or lines or ["no message"])[-1]


def _offline(text: str) -> bool:
    return any(sign in text.lower() for sign in _NO_NETWORK)


def _apt_error(name: str, text: str) -> DeixisError:
    if not any(APT_LISTS.glob("*_Packages*")):
        return DeixisError(
            f"apt-get knows no packages yet (its lists are empty), so {name!r} cannot be fetched.",
            "Run: sudo apt-get update",
        )
    if _offline(text):
        return DeixisError(f"apt-get could not reach its servers to fetch {name!r}.", "Check the network and proxy.")
    if "unable to locate" in text.lower() or "no candidate" in text.lower() or "can't select" in text.lower():
        return DeixisError(
            f"apt-get does not know the package {name!r}.",
            "Run: sudo apt-get update (on Ubuntu first: sudo add-apt-repository universe).",
        )
    if "404" in text or "hash sum mismatch" in text.lower():
        return DeixisError(f"apt-get's lists are out of date for {name!r}.", "Run: sudo apt-get update")
    return DeixisError(f"apt-get could not fetch {name!r}: {_last_line(text)}", f"Try by hand: apt-get download {name}")


def _npm_error(spec: str, text: str) -> DeixisError:
    if _offline(text):
        return DeixisError(f"npm could not reach its registry to fetch {spec}.", "Check the network and proxy.")
    if "e404" in text.lower() or "etarget" in text.lower():
        return DeixisError(
            f"npm's registry does not hold {spec}.",
            "Check which one is used: npm config get registry",
        )
    return DeixisError(f"npm could not fetch {spec}: {_last_line(text)}", f"Try by hand: npm pack {spec}")
