"""Parquet is read as any other table is; images in its cells stay there until they are wanted."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.data.readers.sources import read
from deixis.errors import DeixisError
from deixis.inputs.images import load_image, picture_hash, probe
from deixis.types.samples import Source, Stored, place

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def write(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None, **options: Any) -> Path:
    """A parquet file beside a.jpg and b.jpg."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for name in ("a.jpg", "b.jpg"):
        (path.parent / name).write_bytes(b"")
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata) if metadata else table, path, **options)
    return path


def png(colour: str) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (3, 2), colour).save(data, "PNG")
    return data.getvalue()


def reasons(source: Source) -> list[str]:
    return [item.reason for item in source.skipped]


def said(source: Source, words: str) -> bool:
    return any(words in note for note in source.notes)


def test_the_columns_of_a_table_mean_what_they_mean_in_a_csv(tmp_path: Path) -> None:
    columns = {
        "path": ["a.jpg", "b.jpg", "a.jpg"],
        "caption": [["one", "two"], ["three"], None],
        "label": ["x", "y", "x"],
        "concept": [1, 2, 1],
        "split": ["train", "validation", "train"],
        "artist": ["Ann", None, "Ann"],
    }
    source = read(write(tmp_path / "data.parquet", columns))
    first, second = source.samples
    assert (source.kind, source.layout, source.name, source.root) == (
        "captions",
        "parquet",
        "data",
        tmp_path / "data.parquet",
    )
    assert (first.id, first.captions, first.label, first.groups) == ("a.jpg", ("one", "two"), "x", ("group:1",))
    assert (first.split, second.split, first.extra["artist"]) == ("train", "val", "Ann")
    told = read(
        write(tmp_path / "b.parquet", {"where": ["a.jpg"], "words": ["w"]}), path_column="where", caption_column="words"
    )
    assert told.samples[0].captions == ("w",)


def test_types_that_do_not_fit_are_skipped_with_the_row(tmp_path: Path) -> None:
    paths = pa.array([["a.jpg"], ["b.jpg"]])
    with pytest.raises(DeixisError, match=r"2 of 2 .* path is not text .*--path-column"):
        read(write(tmp_path / "lists.parquet", {"path": paths, "caption": ["x", "y"]}))
    source = read(write(tmp_path / "null.parquet", {"path": ["a.jpg", None], "caption": ["x", "y"]}))
    assert [(item.path, item.reason) for item in source.skipped] == [("row 2", "path is empty")]
    source = read(write(tmp_path / "ints.parquet", {"path": ["a.jpg", "b.jpg"], "caption": [1, None]}))
    assert [sample.captions for sample in source.samples] == [("1",), ()]
    assert said(source, "1 captions are numbers, taken as words")
    nested = [{"en": "x"}, {"en": "y"}]
    source = read(write(tmp_path / "nested.parquet", {"path": ["a.jpg", "b.jpg"], "caption": nested}), max_skipped=1.0)
    assert [sample.captions for sample in source.samples] == [(), ()]
    assert reasons(source) == ["caption is not text"] * 2
    floats = {"path": ["a.jpg"], "caption": pa.array([float("nan")])}
    assert read(write(tmp_path / "nan.parquet", floats)).samples[0].captions == ()


def test_words_as_bytes_are_decoded_and_other_bytes_left_out(tmp_path: Path) -> None:
    columns = {"path": ["a.jpg", "b.jpg"], "text": [b"caf\xc3\xa9\0", b"caf\xe9"], "vector": [b"12", b"34"]}
    source = read(write(tmp_path / "x.parquet", columns))
    assert [sample.captions for sample in source.samples] == [("café",), ()]
    assert reasons(source) == ["caption is not UTF-8"]
    assert said(source, "Columns of bytes were left out: 'vector'")
    assert "vector" not in source.samples[0].extra


def test_endless_captions_are_cut(tmp_path: Path) -> None:
    source = read(write(tmp_path / "x.parquet", {"path": ["a.jpg"], "text": ["x" * 1_000_000]}))
    assert len(source.samples[0].captions[0]) == 10_000


# img2dataset


def downloaded(root: Path, status: list[str], **further: list[Any]) -> Path:
    keys = [f"{number:09}" for number in range(len(status))]
    columns = {
        "url": [f"https://x.org/{key}" for key in keys],
        "caption": [f"caption {key}" for key in keys],
        "key": keys,
        "status": status,
        "error_message": [None if each == "success" else "HTTP Error 404" for each in status],
        "width": [3] * len(status),
        **further,
    }
    return write(root / "00000.parquet", columns)


def test_what_img2dataset_downloaded_is_found_by_its_key(tmp_path: Path) -> None:
    path = downloaded(tmp_path, ["success", "failed_to_download", "success", "failed_to_resize", "failed_to_resize"])
    (tmp_path / "00000").mkdir()
    for name in ("000000000.jpg", "000000000.txt", "000000000.json", "000000002.webp"):
        (tmp_path / "00000" / name).write_bytes(b"")
    source = read(path)
    assert [(sample.id, sample.captions) for sample in source.samples] == [
        ("00000/000000000.jpg", ("caption 000000000",)),
        ("00000/000000002.webp", ("caption 000000002",)),
    ]
    assert source.samples[0].extra["url"] == "https://x.org/000000000"
    assert reasons(source) == ["was not downloaded"] * 3
    assert source.skipped[0].detail == "HTTP Error 404"


def test_images_of_img2dataset_that_lie_in_a_shard_are_read_from_there(tmp_path: Path) -> None:
    path = downloaded(tmp_path, ["success"])
    (tmp_path / "00000.tar").write_bytes(b"")
    with pytest.raises(DeixisError, match=r"list of the content of 00000\.tar\. Give the shard"):
        read(path)


def test_a_list_of_addresses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="URLs are not downloaded"):
        read(write(tmp_path / "x.parquet", {"url": ["https://x.org/a"], "caption": ["x"]}))


# Images inside


def hub(root: Path, name: str = "train-00000-of-00001.parquet", **options: Any) -> Path:
    """As `datasets` writes it: a struct of bytes and path, labels as numbers with their names in the metadata."""
    cells = [
        {"bytes": png(colour), "path": path} for colour, path in (("red", "r.png"), ("lime", "r.png"), ("blue", None))
    ]
    features = {"image": {"_type": "Image"}, "label": {"names": ["warm", "cold"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return write(root / name, {"image": cells, "label": [0, 1, 7]}, metadata, **options)


def test_images_in_the_cells_are_read_when_they_are_wanted(tmp_path: Path) -> None:
    source = read(hub(tmp_path, row_group_size=2))
    assert source.kind == "labels"
    assert [(sample.id, sample.label, sample.split) for sample in source.samples] == [
        ("r.png", "warm", "train"),
        ("000002", "cold", "train"),
        ("000003", None, "train"),
    ]
    for sample, colour in zip(source.samples, ((255, 0, 0), (0, 255, 0), (0, 0, 255)), strict=True):
        again = pickle.loads(pickle.dumps(sample.picture))
        assert load_image(again)[:, 1, 2].tolist() == list(colour)
    picture = source.samples[2].picture
    assert isinstance(picture, Stored)
    assert probe(picture).format == "PNG"
    assert place(picture) == f"{tmp_path}/train-00000-of-00001.parquet/image, row 0 of group 1"
    assert len({picture_hash(sample.picture) for sample in source.samples}) == 3


def test_plain_bytes_are_images_by_name_or_where_told(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"jpg": [png("red")], "scan": [png("lime")], "caption": ["x"]})
    assert load_image(read(path).samples[0].picture)[0, 0, 0] == 255
    assert load_image(read(path, path_column="scan").samples[0].picture)[1, 0, 0] == 255


def test_paths_beside_no_bytes_name_files(tmp_path: Path) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": "a.jpg"}, {"bytes": None, "path": "gone.jpg"}], kind)
    source = read(write(tmp_path / "x.parquet", {"image": cells}))
    assert [sample.image for sample in source.samples] == [tmp_path / "a.jpg"]
    assert reasons(source) == ["file not found"]


def test_a_cell_without_an_image_is_said_to_be_empty_when_it_is_decoded(tmp_path: Path) -> None:
    cells = [{"bytes": png("red"), "path": None}, {"bytes": None, "path": None}, None]
    pictures = [sample.picture for sample in read(write(tmp_path / "x.parquet", {"image": cells})).samples]
    for picture in pictures[1:]:
        with pytest.raises(DeixisError, match=r"x\.parquet/image, row \d of group 0 is empty"):
            load_image(picture)


def test_large_row_groups_are_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deixis.data.readers.formats.parquet.LARGE_GROUP", 2)
    assert said(read(hub(tmp_path)), "3 images are in one row group")
    assert not said(read(hub(tmp_path, row_group_size=2)), "row group")


def test_a_folder_or_a_pattern_of_parquet_files_is_one_collection(tmp_path: Path) -> None:
    for number in range(2):
        hub(tmp_path / "set/data", f"test-{number}.parquet")
        (tmp_path / "set/data/a.jpg").unlink(missing_ok=True)
        (tmp_path / "set/data/b.jpg").unlink(missing_ok=True)
    source = read(tmp_path / "set")
    assert [sample.id for sample in source.samples][::3] == ["test-0/r.png", "test-1/r.png"]
    assert (len(source.samples), source.samples[5].split, source.name) == (6, "test", "set")
    assert (source.layout, source.root) == ("2 parquet files", tmp_path / "set")
    assert [s.id for s in read(f"{tmp_path}/set/data/test-{{0..1}}.parquet").samples] == [s.id for s in source.samples]


# What is refused


def test_a_file_that_is_no_parquet_or_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", {"path": ["a.jpg"] * 1000})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DeixisError, match=r"x\.parquet can't be read as parquet: .*Copy or download it again"):
        read(path)
    path.write_bytes(b"PAR1")
    with pytest.raises(DeixisError, match="can't be read as parquet"):
        read(path)
    with pytest.raises(DeixisError, match="holds no rows"):
        read(write(tmp_path / "none.parquet", {"path": pa.array([], pa.string())}))


def test_damage_in_the_middle_is_told(tmp_path: Path) -> None:
    path = write(
        tmp_path / "x.parquet", {"path": [f"{n}.jpg" for n in range(1000)]}, compression="snappy", use_dictionary=False
    )
    data = bytearray(path.read_bytes())
    data[40:400] = b"\xff" * 360
    path.write_bytes(bytes(data))
    with pytest.raises(DeixisError, match="can't be read as parquet"):
        read(path)


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "x.parquet", {"path": ["a.jpg"]})
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(DeixisError, match=r"'pyarrow' is needed to read parquet files.*pip install 'deixis\[data\]'"):
        read(path)


def test_reading_a_folder_loads_neither_pyarrow_nor_torch(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    code = (
        "import sys; from deixis.data import read; import deixis.data; "
        f"assert len(read({str(tmp_path)!r}).samples) == 1 and 'read' in dir(deixis.data); "
        "print(*{'torch', 'pyarrow', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.stderr) == ("", "")
