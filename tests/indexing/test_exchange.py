"""What goes out to other programs and comes back is the same index; what fits no model or does not fit together is
refused."""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import changes, exchange
from deixis.indexing.changes import build
from deixis.indexing.index import Index

WAYS = {"npy": (exchange.to_npy, exchange.from_npy), "faiss": (exchange.to_faiss, exchange.from_faiss)}
BOTH = pytest.mark.parametrize("way", ["npy", pytest.param("faiss", marks=pytest.mark.slow)])
MAKER = {"model": "starter", "fingerprint": "a" * 64}


def random(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def items_of(names: list[str]) -> list[dict[str, Any]]:
    return [{"id": name, "path": f"/photos/{name}", "captions": [f"a {name}"], "year": 2000} for name in names]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Index:
    """Of two segments, with two rows removed and a name that is no UTF-8."""
    folder = tmp_path_factory.mktemp("exchange") / "index"
    names = ["b.png", os.fsdecode(b"caf\xe9.png"), "two\nlines", *map(str, range(6))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "SMALL", 0)
        build(folder, random(9, 3), items_of(names), **MAKER)
        changes.add(folder, random(2, 3, seed=1), items_of(["new", "newer"]))
        index = changes.remove(folder, ["1", "new"])
    assert len(index.segments) == 2
    assert index.rows == len(index) + 2
    return index


@pytest.fixture
def out(tmp_path: Path, exported: Path) -> Path:
    """A copy of what `to_npy` wrote."""
    return Path(shutil.copytree(exported, tmp_path / "out"))


@pytest.fixture(scope="module")
def exported(index: Index, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exchange.to_npy(index, tmp_path_factory.mktemp("exchange") / "out")


def live_vectors(index: Index) -> np.ndarray:
    return np.stack([index.vector(row) for row, _ in index.items()])


@BOTH
def test_what_goes_out_comes_back_bit_by_bit(tmp_path: Path, index: Index, way: str) -> None:
    export, read = WAYS[way]
    back = read(export(index, tmp_path / "out"), tmp_path / "back")
    assert live_vectors(back).tobytes() == live_vectors(index).tobytes()
    assert [item for _, item in back.items()] == [item for _, item in index.items()]
    assert {key: back.manifest[key] for key in MAKER} == MAKER
    assert Index.open(tmp_path / "back", verify=True).search(random(1, 3), 4).scores.tolist() == (
        index.search(random(1, 3), 4).scores.tolist()
    )
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["about.json", "items.jsonl", f"vectors.{way}"]


@pytest.mark.parametrize("width", [2, pytest.param(512, marks=pytest.mark.slow)])
def test_rounded_lengths_are_not_rounded_again(tmp_path: Path, width: int) -> None:
    """Of narrow vectors many would move by a bit each time they were brought to length 1."""
    index = build(tmp_path / "index", random(100, width), items_of([*map(str, range(100))]), **MAKER)
    back = exchange.from_npy(exchange.to_npy(index, tmp_path / "out"), tmp_path / "back")
    assert back.vectors.tobytes() == index.vectors.tobytes()


@BOTH
def test_half_precision_comes_back_as_such(tmp_path: Path, way: str) -> None:
    index = build(tmp_path / "index", random(50, 8), items_of([*map(str, range(50))]), **MAKER, dtype="float16")
    back = WAYS[way][1](WAYS[way][0](index, tmp_path / "out"), tmp_path / "back")
    assert back.manifest["dtype"] == "float16"
    assert back.vectors.tobytes() == index.vectors.tobytes()


@pytest.mark.slow
def test_faiss_answers_as_we_do_and_its_numbers_are_lines(tmp_path: Path, index: Index) -> None:
    faiss = pytest.importorskip("faiss")
    out = exchange.to_faiss(index, tmp_path / "out")
    lines = [json.loads(line) for line in (out / "items.jsonl").read_bytes().splitlines()]
    query = index.vector(0)[None]
    scores, numbers = faiss.read_index(str(out / "vectors.faiss")).search(query, 5)
    ours = index.search(query, 5)
    np.testing.assert_allclose(scores, ours.scores, atol=1e-6)
    assert [lines[number] for number in numbers[0]] == [index.item(row) for row in ours.rows[0].tolist()]


def test_vectors_of_any_length_and_kind_are_taken_in_and_brought_to_length_1(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    np.save(folder / "vectors.npy", 7 * random(4, 3).astype(np.float64))
    (folder / "items.jsonl").write_text('{"id": "a"}\n{"id": "b"}\n{"id": "c"}\n{"id": "d"}\n')
    with pytest.raises(DeixisError, match=r"Nothing says which model.*fingerprint\(\)"):
        exchange.from_npy(folder, tmp_path / "index", model="clip")
    index = exchange.from_npy(folder, tmp_path / "index", **MAKER)
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-6)
    index.expect("a" * 64)


def short(out: Path) -> None:
    (out / "items.jsonl").write_bytes(b"".join((out / "items.jsonl").read_bytes().splitlines(True)[:-1]))


def twice(out: Path) -> None:
    lines = (out / "items.jsonl").read_bytes().splitlines(True)
    (out / "items.jsonl").write_bytes(b"".join([lines[1], *lines[1:]]))


def saved(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    return lambda out: np.save(out / "vectors.npy", change(np.load(out / "vectors.npy")))


def cut(name: str) -> Callable[[Path], None]:
    return lambda out: (out / name).write_bytes((out / name).read_bytes()[:-20])


def without(name: str) -> Callable[[Path], None]:
    return lambda out: (out / name).unlink()


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (short, "9 vectors and 8 items"),
        (twice, "comes twice"),
        (saved(lambda rows: rows[:, :2]), "width 2, its about.json tells of 9 of width 3"),
        (saved(lambda rows: rows[:5]), "holds 5 vectors"),
        (saved(lambda rows: np.where(rows == rows[4, 1], np.nan, rows)), "Vector 4 holds NaN or infinity"),
        (saved(lambda rows: rows * (np.arange(9) != 3)[:, None]), "Vector 3 is all zeros"),
        (saved(lambda rows: rows.astype(int)), "A table of floating-point numbers"),
        (saved(lambda rows: rows[0]), "one vector a row"),
        (cut("vectors.npy"), "vectors.npy is damaged"),
        (cut("items.jsonl"), "items.jsonl is damaged: line 9"),
        (cut("about.json"), "about.json is damaged"),
        (without("vectors.npy"), "There is no .*vectors.npy"),
        (without("items.jsonl"), "There is no .*items.jsonl"),
        (without("about.json"), "Nothing says which model"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_nothing_is_written(
    tmp_path: Path, out: Path, harm: Callable[[Path], None], said: str
) -> None:
    harm(out)
    with pytest.raises(DeixisError, match=said):
        exchange.from_npy(out, tmp_path / "back")
    assert [each.name for each in tmp_path.iterdir()] == ["out"]


def test_another_model_and_a_name_that_is_taken_are_refused(tmp_path: Path, index: Index, out: Path) -> None:
    with pytest.raises(DeixisError, match=r"made by the model 'starter' \(aaaaaaaaaaaa\), not .* bbbbbbbbbbbb"):
        exchange.from_npy(out, tmp_path / "back", fingerprint="b" * 64)
    for place in (out, index.folder, out / "about.json"):
        with pytest.raises(DeixisError, match="is there already"):
            exchange.to_npy(index, place)
        with pytest.raises(DeixisError, match="is there already"):
            exchange.from_npy(out, place)


@pytest.mark.slow
def test_a_file_of_faiss_that_holds_no_plain_vectors_is_refused(tmp_path: Path, index: Index) -> None:
    faiss = pytest.importorskip("faiss")
    out = exchange.to_faiss(index, tmp_path / "out")
    place = out / "vectors.faiss"
    coarse = faiss.IndexScalarQuantizer(3, faiss.ScalarQuantizer.QT_fp16)
    coarse.add(random(9, 3))
    faiss.write_index(coarse, str(place))
    with pytest.raises(DeixisError, match=r"of the kind IndexScalarQuantizer.*Give a flat index"):
        exchange.from_faiss(out, tmp_path / "back")
    place.write_bytes(place.read_bytes()[:40])
    with pytest.raises(DeixisError, match="faiss can't read it"):
        exchange.from_faiss(out, tmp_path / "back")
    faiss.write_index(faiss.IndexFlatIP(3), str(place))
    with pytest.raises(DeixisError, match="holds 0 vectors"):
        exchange.from_faiss(out, tmp_path / "back")


@BOTH
def test_a_full_disk_leaves_nothing(tmp_path: Path, index: Index, way: str) -> None:
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90, kept[1]))
    try:
        with pytest.raises(OSError, match=r"too large|No space"):
            WAYS[way][0](index, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert not list(tmp_path.iterdir())


def of_clip_retrieval(folder: Path, count: int = 12, size: int = 5) -> np.ndarray:
    """A folder as `clip-retrieval inference` writes one: parts by number, the image names as a column."""
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    vectors = random(count, 4)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for name in ("img_emb", "metadata"):
        (folder / name).mkdir(parents=True)
    for number, start in enumerate(range(0, count, size), 8):  # 8, 9, 10: not the order of names
        part = range(start, min(start + size, count))
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", vectors[part].astype(np.float16))
        columns = {
            "image_path": [f"{row}.jpg" for row in part],
            "caption": [f"number {row}" for row in part],
            "similarity": [float("nan") if row == 3 else row / 2 for row in part],
        }
        parquet.write_table(pyarrow.table(columns), folder / "metadata" / f"metadata_{number}.parquet")
    return vectors


@pytest.mark.slow  # pyarrow takes half a second to load
def test_the_folder_of_clip_retrieval_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    vectors = of_clip_retrieval(tmp_path / "theirs")
    index = exchange.from_clip_retrieval(tmp_path / "theirs", tmp_path / "index", **MAKER)
    assert index.vectors.tobytes() == vectors.astype(np.float16).tobytes()
    assert index.item(11) == {
        "id": "11.jpg",
        "path": "11.jpg",
        "captions": ["number 11"],
        "label": None,
        "similarity": 5.5,
    }
    assert index.item(3)["similarity"] is None
    (tmp_path / "theirs" / "metadata" / "metadata_9.parquet").unlink()
    with pytest.raises(DeixisError, match=r"3 files img_emb/img_emb_N\.npy and 2 metadata"):
        exchange.from_clip_retrieval(tmp_path / "theirs", tmp_path / "again", **MAKER)
    shutil.copy(
        tmp_path / "theirs" / "metadata" / "metadata_10.parquet",
        tmp_path / "theirs" / "metadata" / "metadata_9.parquet",
    )
    with pytest.raises(DeixisError, match=r"holds 5 vectors, .* 2 rows"):
        exchange.from_clip_retrieval(tmp_path / "theirs", tmp_path / "again", **MAKER)
