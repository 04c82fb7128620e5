"""A dataset of Hugging Face's is read by its shape: rows and features; the package itself is not needed."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image as Pillow

from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.inputs.images import load_image
from deixis.types.samples import place


class Image:
    """As `datasets.Image`: what a cell holds is decoded, or not."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class ClassLabel:
    def __init__(self, names: list[str]) -> None:
        self.names = names


class Value:
    pass


class Dataset:
    """What of `datasets.Dataset` is used."""

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any], form: str | None = "torch") -> None:
        self.columns, self.features, self.form = columns, features, form
        self.info = SimpleNamespace(dataset_name="mugs", builder_name="parquet")

    @property
    def column_names(self) -> list[str]:
        return list(self.columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, index: int) -> dict[str, Any]:
        assert self.form is None, "rows are wanted as plain Python"
        row = {name: cells[index] for name, cells in self.columns.items()}
        assert not any(getattr(self.features[name], "decode", False) for name in row), "an image is decoded"
        return row

    def cast_column(self, name: str, feature: Any) -> Dataset:
        return Dataset(self.columns, {**self.features, name: feature}, self.form)

    def select_columns(self, names: list[str]) -> Dataset:
        return Dataset({name: self.columns[name] for name in names}, self.features, self.form)

    def with_format(self, form: str | None) -> Dataset:
        return Dataset(self.columns, self.features, form)


def png(colour: str) -> bytes:
    data = io.BytesIO()
    Pillow.new("RGB", (3, 2), colour).save(data, "PNG")
    return data.getvalue()


def mugs(*cells: Any) -> Dataset:
    columns = {"image": list(cells), "text": [f"mug {n}" for n in range(len(cells))], "kind": [1] * len(cells)}
    return Dataset(columns, {"image": Image(), "text": Value(), "kind": ClassLabel(["cup", "mug"])})


def test_rows_become_samples_and_images_stay_in_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "b.png").write_bytes(png("blue"))
    inside = {"bytes": png("red"), "path": "a.png"}
    outside = {"bytes": None, "path": str(tmp_path / "b.png")}
    source = read(mugs(inside, outside), label_column="kind")
    assert [(s.id, s.captions, s.label) for s in source.samples] == [
        ("000000", ("mug 0",), "mug"),
        ("000001", ("mug 1",), "mug"),
    ]
    assert (source.name, source.kind, source.layout) == ("mugs", "captions", "dataset")
    colours = [load_image(sample.picture)[:, 0, 0].tolist() for sample in source.samples]
    assert colours == [[255, 0, 0], [0, 0, 255]]
    assert place(source.samples[1].picture) == "mugs/image, row 1"


def test_a_cell_without_an_image_is_found_when_it_is_decoded(tmp_path: Path) -> None:
    source = read(mugs(None, {"bytes": None, "path": None}, {"bytes": None, "path": str(tmp_path / "gone.png")}))
    words = ["row 0 is empty", "row 1 is empty", "row 2 .*can't be read"]
    for sample, said in zip(source.samples, words, strict=True):
        with pytest.raises(DeixisError, match=said):
            load_image(sample.picture)


def test_the_keys_of_a_dict_of_datasets_are_splits() -> None:
    cell = {"bytes": png("red"), "path": None}
    source = read({"train": mugs(cell, cell), "validation": mugs(cell), "extra": mugs(cell)})
    assert [(s.id, s.split) for s in source.samples] == [
        ("train/000000", "train"),
        ("train/000001", "train"),
        ("validation/000000", "val"),
        ("extra/000000", ""),
    ]


def test_paths_without_an_image_feature_are_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    data = Dataset({"file_name": ["a.jpg", "gone.jpg"]}, {"file_name": Value()})
    source = read(data)
    assert [sample.image for sample in source.samples] == [tmp_path / "a.jpg"]
    assert source.skipped[0].reason == "file not found"


def test_a_second_column_of_images_is_told_of_and_can_be_chosen() -> None:
    columns = {"one": [{"bytes": png("red")}], "two": [{"bytes": png("lime")}]}
    data = Dataset(columns, {"one": Image(), "two": Image()})
    source = read(data)
    assert any("Images are read from 'one'; path_column names another of 'one', 'two'" in note for note in source.notes)
    assert load_image(read(data, path_column="two").samples[0].picture)[1, 0, 0] == 255


def test_a_stream_is_refused() -> None:
    stream = SimpleNamespace(column_names=["image"], features={"image": Image()})
    with pytest.raises(DeixisError, match=r"is a stream.*without streaming=True"):
        read(stream)


@pytest.mark.parametrize("value", [5, None, [1], {}, b"path"])
def test_what_is_neither_a_path_nor_a_dataset_is_refused(value: Any) -> None:
    with pytest.raises(DeixisError, match=rf"A {type(value).__name__} can't be read as data.*What is understood"):
        read(value)
