"""An image that a table names lies beside it, or in exactly one of the folders beside it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from deixis.data.readers.lookup import MANY_FOLDERS, Lookup
from deixis.types.samples import Member, Skipped


def put(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def where(lookup: Lookup, name: str) -> str:
    found = lookup.find(name)
    return found.reason if isinstance(found, Skipped) else found[0]


def test_beside_the_table_comes_before_the_folders_beside_it(tmp_path: Path) -> None:
    lookup = Lookup(put(tmp_path, "a.jpg", "images/a.jpg", "photos/b.jpg", "images/train/c.jpg") / "data.csv")
    assert [where(lookup, name) for name in ("a.jpg", "b.jpg", "c.jpg", "train/c.jpg", "images/a.jpg")] == [
        "a.jpg",
        "photos/b.jpg",
        "images/train/c.jpg",
        "images/train/c.jpg",
        "images/a.jpg",
    ]
    [note] = lookup.notes()
    assert note.endswith("photos (1), images/train (1), images (1).")
    assert Lookup(tmp_path / "data.csv").notes() == []


def test_a_name_in_two_folders_is_not_guessed_unless_the_tables_own_name_tells(tmp_path: Path) -> None:
    put(tmp_path, "train2017/a.jpg", "val2017/a.jpg")
    assert where(Lookup(tmp_path / "data.csv"), "a.jpg") == "is in several folders"
    assert where(Lookup(tmp_path / "instances_val2017.json"), "a.jpg") == "val2017/a.jpg"


def test_of_a_table_in_annotations_the_folder_above_counts(tmp_path: Path) -> None:
    lookup = Lookup(put(tmp_path, "images/a.jpg", "b.jpg", "annotations/c.jpg") / "annotations/x.json")
    assert [where(lookup, name) for name in ("a.jpg", "b.jpg", "c.jpg")] == [
        "images/a.jpg",
        "b.jpg",
        "annotations/c.jpg",
    ]


def test_paths_of_the_users_own_may_lead_anywhere(tmp_path: Path) -> None:
    put(tmp_path, "in/a.jpg", "out/b.jpg")
    lookup = Lookup(tmp_path / "in/data.csv")
    assert where(lookup, "../out/b.jpg") == "../out/b.jpg"
    assert where(lookup, str(tmp_path / "out/b.jpg")) == str(tmp_path / "out/b.jpg")
    assert where(lookup, str(tmp_path / "in/a.jpg")) == "a.jpg"
    assert where(lookup, r"..\out\b.jpg") == "../out/b.jpg"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "path is empty"),
        ("  ", "path is empty"),
        (5, "path is not text"),
        (["a.jpg"], "path is not text"),
        ({"path": "a.jpg"}, "path is not text"),
        (b"a.jpg", "path is not text"),
        ("https://x.org/a.jpg", "is a URL"),
        ("data:image/png;base64,x", "is a URL"),
        ("\udcff.jpg", "name is not UTF-8"),
        ("gone.jpg", "file not found"),
        ("a\0.jpg", "file not found"),
        ("x" * 5000, "file not found"),
        ("sub", "is not a file"),
    ],
)
def test_what_is_no_path_of_a_file_is_told_apart(tmp_path: Path, value: object, reason: str) -> None:
    found = Lookup(put(tmp_path, "sub/a.jpg") / "data.csv").find(value)
    assert isinstance(found, Skipped)
    assert found.reason == reason
    assert len(found.path) <= 200


def test_of_very_many_folders_only_those_with_usual_names_are_looked_into(tmp_path: Path) -> None:
    put(tmp_path, *(f"class{number}/{number}.jpg" for number in range(MANY_FOLDERS)))
    assert where(Lookup(tmp_path / "x.csv"), "3.jpg") == "class3/3.jpg"
    put(tmp_path, "train2017/a.jpg")
    assert where(Lookup(tmp_path / "x.csv"), "3.jpg") == "file not found"
    assert where(Lookup(tmp_path / "x.csv"), "a.jpg") == "train2017/a.jpg"


def test_a_table_may_name_a_file_within_a_shard(tmp_path: Path) -> None:
    put(tmp_path, "in.jpg")
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards/s.tar", "w") as tar:
        for name in ("0001.jpg", "a/0002.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(name)
            tar.addfile(info, io.BytesIO(name.encode()))
    lookup = Lookup(tmp_path / "data.csv")
    for name in ("shards/s.tar/a/0002.jpg", "s.tar/a/0002.jpg", f"{tmp_path}/shards/s.tar/a/0002.jpg"):
        found = lookup.find(name)
        assert not isinstance(found, Skipped)
        assert found[0] == "shards/s.tar/a/0002.jpg"
        assert isinstance(found[1], Member)
        assert found[1].read() == b"a/0002.jpg"
    assert where(lookup, "shards/s.tar/3.jpg") == "not in the shard"
    assert where(lookup, "shards/gone.tar/0001.jpg") == "file not found"
    (tmp_path / "t.tar").write_bytes(b"no tar at all" * 100)
    assert where(lookup, "t.tar/0001.jpg") == "not in the shard"
