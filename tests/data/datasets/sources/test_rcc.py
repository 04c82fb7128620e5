"""Qt's resource files: what was put in comes out, and a hostile one ends in one sentence."""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest

from deixis.data.datasets.sources.rcc import read_rcc
from deixis.errors import DeixisError
from tests.registries import build_rcc

FILES = {"a/b/one.txt": b"one" * 100, "a/two.txt": b"", "a/b/größe.txt": b"three", "four.webp": b"4"}


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("version", [1, 2, 3])
def test_what_was_put_in_comes_out(tmp_path: Path, version: int) -> None:
    packed = {"a/b/one.txt": 1, "a/two.txt": 1}
    archive = write(tmp_path / "x.rcc", build_rcc(FILES, version=version, packed=packed))
    assert read_rcc(archive, (".txt", ".webp")) == FILES
    assert set(read_rcc(archive, (".webp",))) == {"four.webp"}


def test_zstd_is_read_where_its_package_is_installed(tmp_path: Path) -> None:
    zstandard = pytest.importorskip("zstandard")
    content = zstandard.compress(b"many words " * 50)
    archive = write(tmp_path / "x.rcc", build_rcc({"a.txt": content}, packed={"a.txt": 4}))
    assert read_rcc(archive, (".txt",)) == {"a.txt": b"many words " * 50}
    with pytest.raises(DeixisError, match="more comes out"):
        read_rcc(archive, (".txt",), limit=99)
    with pytest.raises(DeixisError, match="damaged"):
        read_rcc(write(tmp_path / "y.rcc", build_rcc({"a.txt": b"none"}, packed={"a.txt": 4})), (".txt",))


def test_zstd_without_its_package_names_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "zstandard", None)
    archive = write(tmp_path / "x.rcc", build_rcc({"a.txt": b"x"}, packed={"a.txt": 4}))
    with pytest.raises(DeixisError, match=r"'zstandard' is needed .*pip install 'deixis\[data\]'"):
        read_rcc(archive, (".txt",))


@pytest.mark.parametrize("name", ["..", ".", "a\\b", "c:", "nul\0"])
def test_a_name_that_could_leave_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    archive = write(tmp_path / "x.rcc", build_rcc({f"{name}/a.txt": b"x"}))
    with pytest.raises(DeixisError, match="a file in it is called"):
        read_rcc(archive, (".txt",))


def test_more_bytes_than_allowed_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    archive = write(tmp_path / "x.rcc", build_rcc({"a.txt": b"a" * 100_000}, packed={"a.txt": 1}))
    assert archive.stat().st_size < 500
    with pytest.raises(DeixisError, match="more comes out of it than is allowed"):
        read_rcc(archive, (".txt",), limit=99_999)
    assert len(read_rcc(archive, (".txt",), limit=100_000)["a.txt"]) == 100_000


@pytest.mark.parametrize(
    ("offset", "value", "said"),
    [
        (0, 0x7172_6573 + 1, "does not start with 'qres'"),
        (4, 9, "its version is 9"),
        (8, 1 << 30, "nothing lies at byte"),
        (12, 1 << 30, "nothing lies at byte"),
        (16, 1 << 30, "nothing lies at byte"),
        (20 + 6, 1 << 31, "claims to hold"),
        (20 + 10, 0, "form a ring"),
    ],
)
def test_numbers_that_lead_nowhere_are_named(tmp_path: Path, offset: int, value: int, said: str) -> None:
    content = bytearray(build_rcc(FILES))
    struct.pack_into(">I", content, offset, value)
    with pytest.raises(DeixisError, match=said):
        read_rcc(write(tmp_path / "x.rcc", bytes(content)), (".txt",))


def test_any_damage_ends_in_an_error_or_in_files(tmp_path: Path) -> None:
    whole, rng = build_rcc(FILES, packed={"a/b/one.txt": 1}), random.Random(0)
    for _ in range(250):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            content[rng.randrange(len(content))] = rng.choice((0, 1, 2, 127, 255, rng.randrange(256)))
        try:
            files = read_rcc(write(tmp_path / "x.rcc", bytes(content[: rng.choice((None, rng.randrange(400)))])), ("",))
        except DeixisError:
            continue
        assert all(isinstance(value, bytes) for value in files.values())
