"""What lies in a tar: nothing that could lead out of it, and nothing taken from an index that does not fit."""

from __future__ import annotations

import io
import json
import os
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deixis.data.readers import tars
from deixis.data.readers.tars import Listing, index_path, is_packed, listing, write_index
from deixis.errors import DeixisError

Member = tuple[str | tarfile.TarInfo, bytes]


def tar(path: Path, *members: Member, form: int = tarfile.GNU_FORMAT) -> Path:
    """A tar of (name or header, bytes)."""
    with tarfile.open(path, "w", format=form, errors="surrogateescape") as archive:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if info.isreg():
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def special(name: str, kind: bytes, link: str = "") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info, b""


def pax(name: str, **headers: str) -> Member:
    info = tarfile.TarInfo(name)
    info.pax_headers = headers
    return info, b"xyz"


def names(found: Listing) -> list[str]:
    return [entry.name for entry in found.entries]


def reasons(found: Listing) -> list[tuple[str, str]]:
    return [(item.path, item.reason) for item in found.skipped]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_bytes_of_every_file_are_where_the_listing_says(form: int, tmp_path: Path) -> None:
    long = "/".join(["folder"] * 20) + "/ä.txt"
    files = {"a.txt": b"one", "b/c.txt": b"", "d.bin": bytes(range(256)) * 5, long: b"long"}
    path = tar(tmp_path / "a.tar", *files.items(), form=form)
    found = listing(path)
    whole = path.read_bytes()
    assert {entry.name: whole[entry.offset : entry.offset + entry.size] for entry in found.entries} == files
    assert found.skipped == ()


# what is left out


def sparse() -> Member:
    info = tarfile.TarInfo("s.txt")
    info.pax_headers = {"GNU.sparse.map": "0,3", "GNU.sparse.size": "3", "GNU.sparse.numblocks": "1"}
    return info, b"xyz"


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (("../a.txt", b"x"), "name leads out of the archive"),
        (("a/../../b.txt", b"x"), "name leads out of the archive"),
        (("/etc/passwd.txt", b"x"), "name leads out of the archive"),
        (special("a.txt", tarfile.SYMTYPE, "/etc/passwd"), "is a link"),
        (special("a.txt", tarfile.LNKTYPE, "b.txt"), "is a link"),
        (special("a.txt", tarfile.CHRTYPE), "is a device or a pipe"),
        (special("a.txt", tarfile.BLKTYPE), "is a device or a pipe"),
        (special("a.txt", tarfile.FIFOTYPE), "is a device or a pipe"),
        (pax("a.txt", path="a\0b.txt"), "name holds control characters"),
        (("a\nb.txt", b"x"), "name holds control characters"),
        (("a\udce4.txt", b"x"), "name is not UTF-8"),
        (sparse(), "is a sparse file"),
    ],
)
def test_a_member_that_is_no_plain_file_or_leads_elsewhere_is_left_out(
    member: Member, reason: str, tmp_path: Path
) -> None:
    form = tarfile.PAX_FORMAT if isinstance(member[0], tarfile.TarInfo) else tarfile.GNU_FORMAT
    path = tar(tmp_path / "a.tar", ("good.txt", b"x"), member, ("more.txt", b"y"), form=form)
    for _ in range(2):  # by the walk, then by the index
        found = listing(path)
        assert names(found) == ["good.txt", "more.txt"]
        [(name, said)] = reasons(found)
        assert said == reason
        assert name.isprintable()


def test_folders_are_no_files_and_no_fault(tmp_path: Path) -> None:
    found = listing(tar(tmp_path / "a.tar", special("b", tarfile.DIRTYPE), ("b/a.txt", b"x")))
    assert names(found) == ["b/a.txt"]
    assert found.skipped == ()


# damage


def cut_inside(data: bytes) -> bytes:
    return data[: 3 * 512 + 100]


def cut_between(data: bytes) -> bytes:
    return data[: 4 * 512]


def cut_in_a_header(data: bytes) -> bytes:
    return data[: 4 * 512 + 100]


def header_overwritten(data: bytes) -> bytes:
    return data[: 4 * 512] + b"garbage!" * 64 + data[5 * 512 :]


@pytest.mark.parametrize("damage", [cut_inside, cut_between, cut_in_a_header, header_overwritten])
def test_what_stands_before_the_damage_is_kept_and_the_damage_is_told(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    path = tar(tmp_path / "a.tar", *((f"{i}.txt", b"x" * 512) for i in range(4)))
    path.write_bytes(damage(path.read_bytes()))
    found = listing(path)
    assert names(found) == (["0.txt"] if damage is cut_inside else ["0.txt", "1.txt"])
    [fault] = found.skipped
    assert fault.reason == "shard is cut short or damaged"
    assert any(word in fault.detail for word in ("ends at byte", "no end mark", "no header", "after 2 files"))


def raw(name: str, kind: bytes, size: bytes) -> bytes:
    """A header with a size that no writer would write."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    block[156:157], block[124:136] = kind, size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


NEGATIVE = b"\xff" * 10 + struct.pack(">h", -512)
ENORMOUS = b"\x80" + b"\0" * 3 + struct.pack(">q", 2**62)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("size", [NEGATIVE, ENORMOUS])
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE])
def test_a_size_that_lies_ends_the_walk_and_not_the_program(kind: bytes, size: bytes, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    path.write_bytes(path.read_bytes()[:1024] + raw("a.txt", kind, size) + bytes(1024))
    found = listing(path)
    assert names(found) == ["0.txt"]
    assert len(found.skipped) == 1


def test_extended_headers_without_end_are_told(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    path.write_bytes(path.read_bytes()[:1024] + raw("x", tarfile.XHDTYPE, b"0" * 11 + b"\0") * 3000 + bytes(1024))
    assert [item.reason for item in listing(path).skipped] == ["shard is cut short or damaged"]


@pytest.mark.parametrize("data", [b"", b"no tar at all " * 100, b"\xff" * 2000])
def test_what_is_no_tar_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(DeixisError, match="is not a tar archive"):
        listing(tmp_path / "a.tar")


@pytest.mark.parametrize(("mode", "command"), [("w:gz", "gunzip"), ("w:bz2", "bunzip2"), ("w:xz", "unxz")])
def test_a_compressed_tar_is_refused_with_the_command_that_mends_it(mode: str, command: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", mode) as archive:
        archive.addfile(tarfile.TarInfo("a.txt"))
    with pytest.raises(DeixisError, match=command):
        listing(tmp_path / "a.tar.gz")


# the index


def walks(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The tars that are walked over from here on."""
    walked: list[Path] = []
    walk = tars._walk

    def counted(path: Path) -> Listing:
        walked.append(path)
        return walk(path)

    monkeypatch.setattr(tars, "_walk", counted)
    return walked


def test_a_tar_is_walked_over_once_and_its_index_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    walked = walks(monkeypatch)
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"), ("../1.txt", b""), ("2.txt", b"y" * 3000))
    first = listing(path)
    assert listing(path) == first
    assert walked == [path]
    assert sorted(os.listdir(tmp_path)) == ["a.idx.json", "a.tar"]
    assert not is_packed(path)


def test_an_index_goes_along_when_the_tar_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    first, walked = listing(path), walks(monkeypatch)
    other = tmp_path / "other" / "a.tar"
    other.parent.mkdir()
    other.write_bytes(path.read_bytes())
    index_path(other).write_bytes(index_path(path).read_bytes())
    assert listing(other) == first
    assert walked == []


def test_a_tar_that_has_changed_is_walked_over_again(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"), ("1.txt", b"y"))
    listing(path)
    tar(path, ("2.txt", b"x"), ("3.txt", b"y"))  # of the same size
    assert names(listing(path)) == ["2.txt", "3.txt"]
    tar(path, ("4.txt", b"x" * 20000))
    assert names(listing(path)) == ["4.txt"]


@pytest.mark.parametrize("before", [[], [("0.txt", b"x")], [("../0.txt", b"x")]])
def test_a_file_that_was_appended_is_seen_though_the_tar_has_not_grown(before: list[Member], tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", *before)
    first, size = listing(path), path.stat().st_size
    with tarfile.open(path, "a") as archive:
        archive.addfile(tarfile.TarInfo("new.txt"))
    assert path.stat().st_size == size
    assert names(listing(path)) == [*names(first), "new.txt"]


def change(path: Path, **values: object) -> None:
    index = json.loads(index_path(path).read_text())
    index_path(path).write_text(json.dumps({**index, **values}))


@pytest.mark.parametrize(
    "values",
    [
        {"version": 2},
        {"format": "other"},
        {"entries": [["0.txt", 512, 10**9]]},
        {"entries": [["0.txt", -512, 1]]},
        {"entries": [["0.txt", 512, -1]]},
        {"entries": [["0.txt", 10**30, 1]]},
        {"entries": [["../0.txt", 512, 1]]},
        {"entries": [["0.txt", "512", 1]]},
        {"entries": [["0.txt", 1024, 1]]},
        {"entries": [[5, 512, 1]]},
        {"entries": 5},
        {"skipped": [[1, 2, 3]]},
        {"skipped": [["only"]]},
    ],
)
def test_an_index_that_says_what_cannot_be_is_not_believed(values: dict[str, object], tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    first = listing(path)
    right = index_path(path).read_bytes()
    change(path, **values)
    assert listing(path) == first
    assert index_path(path).read_bytes() == right, "it is written anew"


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"null", b"[" * 100_000, b"\xff\xfe", b" " * 2**21])
def test_an_index_that_is_none_is_not_believed(content: bytes, tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    index_path(path).write_bytes(content)
    assert names(listing(path)) == ["0.txt"]


def test_where_no_index_can_be_written_the_tar_is_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("deixis.files.tempfile.mkstemp", refuse)
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    assert names(listing(path)) == ["0.txt"]
    assert os.listdir(tmp_path) == ["a.tar"]


def test_an_index_tells_who_packed(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", ("0.txt", b"x"))
    write_index(path, Listing(listing(path).entries, packed=True))
    assert is_packed(path)
    tar(path, ("1.txt", b"x"))
    assert not is_packed(path)
