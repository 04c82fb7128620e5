"""Packages of a few pixels, for tests of what package registries hold."""

from __future__ import annotations

import io
import shutil
import struct
import tarfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from deixis.data.datasets.sources import packages

__all__ = ["build_deb", "build_rcc", "build_tgz", "needs_dpkg", "pixels", "quiet"]

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="builds a package with dpkg-deb")


def quiet(line: str) -> None:
    assert line


def pixels(path: Path, colour: str = "red", mode: str = "RGB") -> Path:
    """A picture of 2 x 2 pixels; the suffix tells its format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, (2, 2), colour).save(path)
    return path


def build_deb(work: Path, name: str, fill: Callable[[Path], None], inside: str) -> Path:
    """A Debian package whose folder `inside` was filled by a function."""
    tree = work / f"{name}-tree"
    fill(tree / inside)
    control = tree / "DEBIAN/control"
    control.parent.mkdir()
    control.write_text(
        f"Package: {name}\nVersion: 1.5-1\nArchitecture: all\nMaintainer: N <n@example.org>\nDescription: x\n",
        encoding="utf-8",
    )
    archive = work / f"{name}_1.5-1_all.deb"
    done = packages._run(["dpkg-deb", "--root-owner-group", "--build", str(tree), str(archive)], work)
    assert done.returncode == 0, done.stderr
    return archive


def build_tgz(path: Path, files: Mapping[str, bytes]) -> Path:
    """A compressed tar archive, as npm's packages are."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def build_rcc(files: Mapping[str, bytes], *, version: int = 2, packed: Mapping[str, int] | None = None) -> bytes:
    """A resource file of Qt's.

    Args:
        files: path inside -> content.
        version: of the format.
        packed: path inside -> flag of the compression (1 zlib, 4: the content given is compressed already).
    """
    entries: list[tuple[str, dict[str, object] | str]] = [("", _tree(files))]
    names, data, tree = b"", b"", b""
    for name, node in entries:  # grows on the way: the children of a folder lie side by side
        place, names = len(names), names + struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        if isinstance(node, str):
            flag = (packed or {}).get(node, 0)
            content = files[node]
            stored = struct.pack(">I", len(content)) + zlib.compress(content) if flag == 1 else content
            tree += struct.pack(">IHHHI", place, flag, 0, 0, len(data))
            data += struct.pack(">I", len(stored)) + stored
        else:
            tree += struct.pack(">IHII", place, 2, len(node), len(entries))
            entries += list(node.items())  # type: ignore[arg-type]
        tree += bytes(8) if version > 1 else b""
    header = 24 if version > 2 else 20
    starts = (header, header + len(tree), header + len(tree) + len(data))
    return struct.pack(">4s4I", b"qres", version, *starts) + bytes(header - 20) + tree + data + names


def _tree(files: Mapping[str, bytes]) -> dict[str, object]:
    root: dict[str, object] = {}
    for path in files:
        folder = root
        for part in path.split("/")[:-1]:
            folder = folder.setdefault(part, {})  # type: ignore[assignment]
        folder[path.rsplit("/")[-1]] = path
    return root
