"""The form of what is given is found by looking: shards, patterns with braces, and json of several forms."""

from __future__ import annotations

import copy
import json
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from tests.pictures import captioned


def shard(path: Path, *keys: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = captioned(path.parent / f"made-for-{path.stem}", count=len(keys))
    with tarfile.open(path, "w") as tar:
        for key, image in zip(keys, sorted(folder.glob("*.png")), strict=True):
            tar.add(image, f"{key}.png")
            tar.add(image.with_suffix(".txt"), f"{key}.txt")
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return path


def test_a_tar_a_folder_of_tars_and_a_pattern_of_tars_are_shards(tmp_path: Path) -> None:
    for number in range(8, 12):
        shard(tmp_path / f"s/x-{number:04}.tar", f"{number}a", f"{number}b")
    one = read(tmp_path / "s/x-0008.tar")
    assert (len(one.samples), one.kind) == (2, "captions")
    every = [sample.id for sample in read(tmp_path / "s").samples]
    assert len(every) == 8
    assert [sample.id for sample in read(f"{tmp_path}/s/x-{{0008..0011}}.tar").samples] == every
    assert [sample.id for sample in read(f"{tmp_path}/s/x-00{{08,09}}.tar").samples] == every[:4]
    assert [sample.id for sample in read(f"{tmp_path}/s/x-{{00..00}}{{08..09}}.tar").samples] == every[:4]


def test_shards_have_no_columns_to_name(tmp_path: Path) -> None:
    one = shard(tmp_path / "s/x-0.tar", "a")
    for data in (one, one.parent, f"{one.parent}/x-{{0..0}}.tar"):
        with pytest.raises(DeixisError, match="shards, which have no columns"):
            read(data, caption_column="text")


def test_shards_that_a_pattern_names_and_that_are_missing_are_counted(tmp_path: Path) -> None:
    shard(tmp_path / "x-0.tar", "a")
    with pytest.raises(DeixisError, match=r"4 of the 5 files that .*x-\{0\.\.4\}\.tar names are missing: .*x-1\.tar, "):
        read(f"{tmp_path}/x-{{0..4}}.tar")
    with pytest.raises(DeixisError, match=r"\{4\.\.0\} counts no files"):
        read(f"{tmp_path}/x-{{4..0}}.tar")
    with pytest.raises(DeixisError, match="names more than 1,000,000 files"):
        read(f"{tmp_path}/{{0..999}}{{0..999}}{{0..9}}.tar")
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).touch()
    with pytest.raises(DeixisError, match=r"names 2 files that end in \.csv"):
        read(f"{tmp_path}/{{a,b}}.csv")


def test_a_file_with_braces_in_its_name_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    (tmp_path / "{1..2}.csv").write_text("path,caption\na.jpg,x\n")
    assert read(tmp_path / "{1..2}.csv").samples[0].captions == ("x",)


def test_images_come_before_shards_in_a_folder(tmp_path: Path) -> None:
    captioned(tmp_path, count=3)
    shard(tmp_path / "x.tar", "a")
    assert len(read(tmp_path).samples) == 3


@pytest.mark.parametrize("lines", [False, True])
def test_a_json_of_plain_records_is_a_table(tmp_path: Path, lines: bool) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    rows = [{"image": "a.jpg", "caption": ["one", "two"], "n": 1}, {"image": "b.jpg", "caption": "three"}]
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps([*rows, 5, None])
    (tmp_path / "data.json").write_text(text)
    source = read(tmp_path / "data.json", max_skipped=1.0)
    assert [sample.captions for sample in source.samples] == [("one", "two"), ("three",)]
    assert source.samples[0].extra == {"n": 1}
    assert [item.path for item in source.skipped] == ([] if lines else ["record 3", "record 4"])
    assert source.layout == "json"


def test_a_split_is_what_a_column_or_a_folder_says(tmp_path: Path) -> None:
    for name in ("train/a.jpg", "dev/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    text = "path,caption,split\ntrain/a.jpg,x,Training\ndev/b.jpg,x,test\ndev/b.jpg,y,train\n"
    (tmp_path / "data.csv").write_text(text)
    assert [(sample.id, sample.split) for sample in read(tmp_path).samples] == [
        ("dev/b.jpg", "val"),
        ("train/a.jpg", "train"),
    ]
    source = read(tmp_path / "data.csv")
    assert [(sample.split, sample.captions) for sample in source.samples] == [("train", ("x",)), ("test", ("x",))]
    assert source.skipped[0].reason == "second split of an image"


def test_told_columns_make_a_table_of_whatever_has_rows(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    rows = [{"image": "a.jpg", "words": "x", "regions": [{"box": [0, 0, 1, 1]}]}]
    (tmp_path / "data.json").write_text(json.dumps(rows))
    assert read(tmp_path / "data.json").samples[0].regions
    [sample] = read(tmp_path / "data.json", caption_column="words").samples
    assert (sample.captions, sample.regions) == (("x",), ())


def test_what_datasets_saved_is_refused_with_the_way_to_read_it(tmp_path: Path) -> None:
    (tmp_path / "data-00000-of-00001.arrow").write_bytes(b"ARROW1")
    with pytest.raises(DeixisError, match=r"read\(datasets\.load_from_disk\("):
        read(tmp_path)


# Whatever stands where

_REGION = {
    "box": [0, 0, 1, 1],
    "phrases": ["x", {"text": "y", "relates": [0]}],
    "spans": [[0, 1]],
    "mask": [[1, 1, 2, 2, 3, 1]],
}
_SOUND: dict[str, Any] = {
    "coco": {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 9, "height": 9, "caption": "a bird"}],
        "annotations": [{"image_id": 1, "bbox": [1, 1, 2, 2], "category_id": 1, "tokens_positive": [[0, 1]]}],
        "categories": [{"id": 1, "name": "bird"}],
    },
    "records": [{"image": "a.jpg", "caption": "a bird", "width": 9, "height": 9, "regions": [_REGION]}],
    "talk": [{"image": "a.jpg", "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "y"}]}],
    "rows": [{"path": "a.jpg", "caption": "x", "label": "y", "split": "val"}],
}
_WRONG = [None, True, -1, 3.5, 1e308, 10**40, "", "x", "\ud800", "a\0b", "a.jpg", [], {}, [[]], [None], {"a": 1}]


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every list or object of a json with each of its keys."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        yield from _places(value[key])


@pytest.mark.parametrize("form", _SOUND)
@pytest.mark.parametrize("seed", range(4))
def test_whatever_stands_where_the_answer_is_a_source_or_a_message(tmp_path: Path, form: str, seed: int) -> None:
    (tmp_path / "a.jpg").touch()
    rng = random.Random(seed)
    for _ in range(25):
        value = copy.deepcopy(_SOUND[form])
        for _ in range(rng.randint(1, 3)):
            holder, key = rng.choice(list(_places(value)))
            holder[key] = copy.deepcopy(rng.choice(_WRONG))
        (tmp_path / "x.json").write_text(json.dumps(value))
        try:
            source = read(tmp_path / "x.json")
        except DeixisError as error:
            str(error).encode()
            continue
        for sample in source.samples:
            json.dumps([sample.captions, sample.label, sample.groups], ensure_ascii=False).encode()
            assert all(region.box[0] < region.box[2] for region in sample.regions)
