"""The csv that labels are saved in: nothing is lost, whatever else writes to it or holds it."""

from __future__ import annotations

import csv
import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deixis.apps.label.filled_table import ChangedMeanwhile
from deixis.apps.label.label_table import Entry, LabelTable
from deixis.data.readers import sources
from deixis.errors import DeixisError

NOTHING = Entry()


def lines(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.reader(file))


def test_a_new_table_is_one_that_adapt_reads(tmp_path: Path) -> None:
    table = LabelTable(tmp_path / "labels.csv")
    assert not table.path.exists()  # before anything is saved
    table.save("/photos/a.png", Entry(label="cat"), NOTHING)
    table.save('/photos/odd\nname, "b".png', Entry("a dog, asleep"), NOTHING)
    assert lines(table.path) == [
        ["path", "caption", "label"],
        ["/photos/a.png", "", "cat"],
        ["/photos/odd\nname, \"b\".png", "a dog, asleep", ""],
    ]  # fmt: skip
    assert table.entries() == {
        "/photos/a.png": Entry(label="cat"), "/photos/odd\nname, \"b\".png": Entry("a dog, asleep")
    }  # fmt: skip


def test_rows_and_columns_of_others_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("\ufeffnote;file;class\n1;a.png;\n2;sub/b.png;old\n\n3;;\n", encoding="utf-8")
    table = LabelTable(path)
    assert list(table.entries()) == [str(tmp_path / "a.png"), str(tmp_path / "sub/b.png")]
    table.save(str(tmp_path / "a.png"), Entry("grey", "cat"), NOTHING)
    table.save(str(tmp_path / "c.png"), Entry(label="dog"), NOTHING)
    assert path.read_bytes().startswith(b"\xef\xbb\xbfnote;")
    text = path.read_text("utf-8-sig").splitlines()
    assert text == [
        "note;file;class;caption", "1;a.png;cat;grey", "2;sub/b.png;old", "3;;", f";{tmp_path}/c.png;dog;"
    ]  # fmt: skip


def test_two_windows_do_not_lose_each_others_labels(tmp_path: Path) -> None:
    ours, theirs = LabelTable(tmp_path / "labels.csv"), LabelTable(tmp_path / "labels.csv")

    def label(table: LabelTable, name: str) -> None:
        for i in range(25):
            table.save(f"/{name}/{i}.png", Entry(label=name), NOTHING)

    threads = [threading.Thread(target=label, args=each) for each in ((ours, "ours"), (theirs, "theirs"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ours.entries()) == 50
    assert ours.entries() == theirs.entries()


def test_the_same_picture_labelled_by_another_window_is_reported_and_may_be_replaced(tmp_path: Path) -> None:
    ours, theirs = LabelTable(tmp_path / "labels.csv"), LabelTable(tmp_path / "labels.csv")
    theirs.save("/a.png", Entry(label="dog"), NOTHING)
    with pytest.raises(ChangedMeanwhile, match="saved 'dog' for this picture meanwhile"):
        ours.save("/a.png", Entry(label="cat"), NOTHING)
    ours.save("/a.png", Entry(label="dog"), NOTHING)  # the same is no conflict
    ours.save("/a.png", Entry(label="cat"), Entry(label="dog"))
    assert theirs.entries() == {"/a.png": Entry(label="cat")}
    ours.save("/a.png", NOTHING, Entry(label="cat"))
    assert theirs.entries() == {"/a.png": NOTHING}


def test_a_disk_that_is_full_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    table = LabelTable(tmp_path / "labels.csv")
    table.save("/a.png", Entry(label="cat"), NOTHING)
    before = table.path.read_bytes()
    monkeypatch.setattr("deixis.files.os.fsync", full)
    with pytest.raises(DeixisError, match="full"):
        table.save("/b.png", Entry(label="dog"), NOTHING)
    assert (table.path.read_bytes(), os.listdir(tmp_path)) == (before, ["labels.csv"])


def test_a_read_only_table_is_reported_before_anything_is_labelled(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("path,label\na.png,\n")
    path.chmod(0o444)
    with pytest.raises(DeixisError, match="is read-only, so nothing can be saved in it"):
        LabelTable(path)


def test_a_table_that_another_program_holds_is_reported_at_each_save(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    table = LabelTable(path)
    table.save("/a.png", Entry(label="cat"), NOTHING)
    office = tmp_path / ".~lock.labels.csv#"
    office.write_text(",Ada Lovelace,host,30.11.2026 19:00,file:///home/ada;")
    with pytest.raises(DeixisError, match=r"open in an office program \(by Ada Lovelace\)"):
        table.save("/b.png", Entry(label="dog"), NOTHING)
    office.unlink()
    code = (
        "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); print(1, flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(DeixisError, match="Another program holds"):
            table.save("/b.png", Entry(label="dog"), NOTHING)
        holder.communicate("\n")
    table.save("/b.png", Entry(label="dog"), NOTHING)
    assert len(table.entries()) == 2


def test_a_writer_that_never_ends_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = LabelTable(tmp_path / "labels.csv")
    monkeypatch.setattr("deixis.apps.label.filled_table._PATIENCE", 0.05)
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(DeixisError, match="all the time"):
            table.save("/a.png", Entry(label="cat"), NOTHING)
    finally:
        os.close(handle)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("labels.xlsx", b"", "is no csv"),
        ("labels.csv", b"who,label\na,b\n", "has no column that names the image files"),
        ("labels.csv", b"path,label\n\xe9.png,x\n", "is not UTF-8"),
        ("none/labels.csv", b"", "There is no folder"),
    ],
)
def test_what_is_no_table_of_labels_is_refused(tmp_path: Path, name: str, text: bytes, said: str) -> None:
    if text:
        (tmp_path / name).write_bytes(text)
    with pytest.raises(DeixisError, match=said):
        LabelTable(tmp_path / name)


def test_what_was_saved_is_read_as_data(tmp_path: Path) -> None:
    from PIL import Image

    table = LabelTable(tmp_path / "labels.csv")
    for i in range(4):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
        table.save(str(tmp_path / f"{i}.png"), Entry(label=f"class {i % 2}"), NOTHING)
    source = sources.read(table.path)
    assert (source.kind, [sample.label for sample in source.samples]) == ("labels", ["class 0", "class 1"] * 2)
