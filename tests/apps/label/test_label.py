"""Beginning to label: the most telling images first, and a csv that can be adapted to half filled in."""

from __future__ import annotations

import csv
import errno
import json
import os
import shutil
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from torch.nn import functional as F

from deixis.apps.label.label import farthest_first, label
from deixis.errors import DeixisError
from tests.commands import QUICK, deixis
from tests.pictures import captioned, labelled


def radius(vectors: torch.Tensor, chosen: list[int]) -> float:
    """The largest distance of a vector from the nearest chosen one."""
    return float(torch.cdist(vectors, vectors[chosen]).amin(dim=1).max())


def test_the_first_few_cover_all_nearly_as_well_as_any_choice_could() -> None:
    vectors = F.normalize(torch.randn(9, 3, dtype=torch.float64), dim=1)
    order = farthest_first(vectors)
    assert sorted(order) == list(range(9))
    pairs = [[i, j] for i in range(9) for j in range(i)]
    assert radius(vectors, order[:2]) <= 2 * min(radius(vectors, pair) for pair in pairs) + 1e-12


def test_it_begins_with_the_most_typical_and_ends_with_copies() -> None:
    vectors = F.normalize(torch.tensor([[1.0, 0.9], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]), dim=1)
    order = farthest_first(vectors)
    typical = int((vectors @ vectors.mean(dim=0)).argmax())
    assert order[0] == typical
    assert order[-1] in (2, 4)
    assert farthest_first(vectors[:1]) == [0]


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_picture_is_listed_once_and_copies_are_left_out(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 12)
    first = sorted(data.glob("*.png"))[0]
    shutil.copy(first, first.with_name("zcopy.png"))
    code, out, _ = deixis("label", data, "--model", "tiny", "--out", tmp_path / "labels.csv")
    assert code == 0
    assert "12 images" in out
    assert "(1 duplicate skipped)" in out
    listed = rows(tmp_path / "labels.csv")
    assert len({row["path"] for row in listed}) == 12
    assert all(Path(row["path"]).is_file() for row in listed)
    assert all(row["caption"] == Path(row["path"]).with_suffix(".txt").read_text().strip() for row in listed)


@pytest.mark.slow
def test_a_csv_that_is_half_filled_in_can_be_adapted_to(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 60)
    words = {path.stem: path.read_text().strip() for path in data.glob("*.txt")}
    for path in data.glob("*.txt"):
        path.unlink()
    table = tmp_path / "labels.csv"
    assert deixis("label", data, "--model", "tiny", "--out", table).code == 0
    listed = rows(table)
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["path", "caption", "label"])
        writer.writeheader()
        writer.writerows(
            {**row, "caption": words[Path(row["path"]).stem] if i < 40 else ""} for i, row in enumerate(listed)
        )
    assert deixis("adapt", table, *QUICK, "--method", "ridge", "--out", tmp_path / "run").code == 0
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["data"]["images"] == 40
    assert len(result["data"]["skipped"]) == 20


def test_classes_are_written_into_their_column(tmp_path: Path) -> None:
    data = labelled(tmp_path / "classes", 12)
    assert deixis("label", data, "--model", "tiny", "--out", tmp_path / "labels.csv").code == 0
    assert all(row["label"] == Path(row["path"]).parent.name for row in rows(tmp_path / "labels.csv"))


def test_a_csv_with_somebodys_work_in_it_is_not_replaced_unasked(tmp_path: Path) -> None:
    data, table = captioned(tmp_path / "pictures", 6), tmp_path / "labels.csv"
    table.write_text("path,caption\n")
    code, _, err = deixis("label", data, "--model", "tiny", "--out", table)
    assert code == 2
    assert "perhaps with captions in it" in err
    assert table.read_text() == "path,caption\n"
    assert deixis("label", data, "--model", "tiny", "--out", table, "--overwrite").code == 0
    assert len(rows(table)) == 6


@pytest.mark.parametrize(
    ("out", "said"),
    [
        ("pictures", "is a folder; labels go into a csv"),
        ("pictures/a.txt/labels.csv", "Not a directory"),
        ("/proc/deixis/labels.csv", "can't be written in /proc"),
        ("l" * 300 + ".csv", "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(
    out: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "a.txt").write_text("x")
    monkeypatch.chdir(tmp_path)

    def read(*arguments: object) -> None:
        raise AssertionError("the work has begun")

    monkeypatch.setattr("deixis.apps.label.label.read", read)
    with pytest.raises(DeixisError) as caught:
        label("pictures", out, "tiny", overwrite=True, quiet=True)
    assert said in str(caught.value)


def test_a_disk_that_is_full_is_told_and_nothing_half_written_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = captioned(tmp_path / "pictures", 6)
    monkeypatch.setattr("deixis.files.os.fsync", full)
    code, _, err = deixis("label", data, "--model", "tiny", "--out", tmp_path / "labels.csv")
    assert code == 2
    assert "The disk is full" in err
    assert os.listdir(tmp_path) == ["pictures"]


@pytest.mark.slow
def test_pictures_in_shards_are_labelled_and_adapted_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    data, table = captioned(tmp_path / "pictures", 40), tmp_path / "elsewhere" / "labels.csv"
    table.parent.mkdir()
    assert deixis("pack", data, "--shards", "shards", "--size", "15").code == 0
    code, out, err = deixis("label", "shards", "--model", "tiny", "--out", table)
    assert (code, "40 images" in out) == (0, True), err
    assert all(".tar/" in row["path"] for row in rows(table))
    assert deixis("adapt", table, *QUICK, "--method", "ridge", "--out", tmp_path / "run").code == 0
    data_of_run = json.loads((tmp_path / "run" / "result.json").read_text())["data"]
    assert (data_of_run["images"], data_of_run["skipped"]) == (40, [])


def test_a_picture_that_no_csv_can_name_is_told_before_the_work(tmp_path: Path) -> None:
    data = captioned(tmp_path / "pictures", 3)
    cells = [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(data.glob("*.png"))]
    pyarrow.parquet.write_table(pyarrow.table({"image": cells}), tmp_path / "a.parquet")
    code, _, err = deixis("label", tmp_path / "a.parquet", "--model", "tiny", "--out", tmp_path / "labels.csv")
    assert code == 2
    assert "is no file of its own" in err
    assert "deixis pack" in err
    assert not (tmp_path / "labels.csv").exists()
