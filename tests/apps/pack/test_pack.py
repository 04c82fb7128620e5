"""Packing from the command line: what was read is in the shards, and every verb reads them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from deixis.apps.pack.pack import pack
from deixis.data.readers import sources
from tests.commands import deixis
from tests.pictures import captioned, labelled, spoil


def test_a_collection_is_packed_and_it_is_said_how_to_go_on(tmp_path: Path) -> None:
    data, out = captioned(tmp_path / "pictures", 26), tmp_path / "shards"
    code, told, err = deixis("pack", data, "--shards", out, "--size", "10")
    assert code == 0
    assert "26 samples in 3 shards of 8 to 9" in told
    assert f"deixis check {out}" in told
    assert f"{out}/shard-{{000000..000002}}.tar" in told
    assert "pack samples: 26 of 26" in err
    assert sorted(os.listdir(out)) == [f"shard-{i:06}.{end}" for i in range(3) for end in ("idx.json", "tar")]


def test_one_shard_is_told_as_one(tmp_path: Path) -> None:
    told = deixis("pack", labelled(tmp_path / "classes", 6), "--shards", tmp_path / "out", "--name", "toys").out
    assert "6 samples in 1 shard of 6, " in told
    assert "toys-000000.tar" in told
    assert "{" not in told


@pytest.mark.slow
def test_what_was_packed_is_checked_and_searched_as_the_folder_is(tmp_path: Path) -> None:
    data, out = captioned(tmp_path / "pictures", 40), tmp_path / "shards"
    assert deixis("pack", data, "--shards", out, "--size", "15").code == 0
    assert deixis("check", out).code == deixis("check", data).code
    assert "40 images" in deixis("index", out, "--model", "tiny", "--out", tmp_path / "index").out
    assert "shard-00000" in deixis("search", tmp_path / "index", "qqqqqqqqqqqqqq", "--k", "3").out


def test_flags_of_reading_reach_the_reader(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 4)
    names = sorted(path.name for path in data.glob("*.png"))
    (data / "t.csv").write_text("\n".join(["bild;wort", *(f"{name};one {name}" for name in names)]))
    flags = ("--path-column", "bild", "--caption-column", "wort")
    assert deixis("pack", data / "t.csv", "--shards", tmp_path / "out", *flags).code == 0
    assert [sample.captions for sample in sources.read(tmp_path / "out").samples] == [
        (f"one {name}",) for name in names
    ]


def test_what_was_left_out_is_a_table_with_counts_and_examples(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 12)
    reasons = spoil(data)
    code, told, _ = deixis("pack", data, "--shards", tmp_path / "out")
    assert code == 0
    assert "12 samples in" in told
    assert "Left out" in told
    assert all(reason in told for reason in reasons.values())
    assert "letter.jpg is not an image" in told


def test_where_most_is_left_out_it_fails_and_leaves_nothing(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 3)
    spoil(data)
    code, _, err = deixis("pack", data, "--shards", tmp_path / "out")
    assert code == 2
    assert "4 of 7 samples" in err
    assert os.listdir(tmp_path) == ["pictures"]


def test_shards_are_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    data, out = captioned(tmp_path / "pictures", 3), tmp_path / "out"
    assert deixis("pack", data, "--shards", out).code == 0
    code, told, err = deixis("pack", data, "--shards", out)
    assert (code, told) == (2, "")
    assert "holds shards already. Choose another --shards, or --overwrite them." in err
    assert deixis("pack", data, "--shards", out, "--overwrite").code == 0


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("pictures", "holds files other than shards"),
        ("pictures/a.txt", "is a file; shards go into a folder"),
        ("/proc/deixis/shards", "can't be written in /proc"),
        (".", "the folder you are in"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_reading(
    out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nothing").mkdir()  # which reading would refuse
    code, _, err = deixis("pack", "nothing", "--shards", out)
    assert code == 2
    assert said in err


def test_a_disk_that_is_full_is_told_and_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = captioned(tmp_path / "pictures", 6)
    monkeypatch.setattr("os.fsync", full)
    code, _, err = deixis("pack", data, "--shards", tmp_path / "out")
    assert code == 2
    assert "The disk is full" in err
    assert os.listdir(tmp_path) == ["pictures"]


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = pack(str(captioned(tmp_path / "pictures", 3)), tmp_path / "out", quiet=True)
    assert packed.counts == (3,)
    assert capsys.readouterr() == ("", "")
