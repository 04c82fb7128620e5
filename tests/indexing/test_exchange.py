"""What goes out to other programs is the index to the bit, without what was removed."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import changes, exchange
from deixis.indexing.changes import build
from deixis.indexing.index import Index

WAYS = {"npy": exchange.to_npy, "faiss": exchange.to_faiss}
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


def live_vectors(index: Index) -> np.ndarray:
    return np.stack([index.vector(row) for row, _ in index.items()])


def read(folder: Path, way: str) -> np.ndarray:
    if way == "npy":
        return np.load(folder / "vectors.npy", allow_pickle=False)
    faiss = pytest.importorskip("faiss")
    flat = faiss.read_index(str(folder / "vectors.faiss"))
    return np.array(faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d), np.float32).reshape(flat.ntotal, flat.d)


@BOTH
def test_what_goes_out_is_the_index_bit_by_bit(tmp_path: Path, index: Index, way: str) -> None:
    out = WAYS[way](index, tmp_path / "out")
    assert read(out, way).tobytes() == live_vectors(index).tobytes()
    lines = (out / "items.jsonl").read_bytes().splitlines()
    assert [json.loads(line) for line in lines] == [item for _, item in index.items()]
    about = json.loads((out / "about.json").read_text())
    assert {key: about[key] for key in MAKER} == MAKER
    assert (about["count"], about["width"], about["dtype"]) == (9, 3, "float32")
    assert sorted(each.name for each in out.iterdir()) == ["about.json", "items.jsonl", f"vectors.{way}"]


def test_half_precision_goes_out_as_such(tmp_path: Path) -> None:
    index = build(tmp_path / "index", random(50, 8), items_of([*map(str, range(50))]), **MAKER, dtype="float16")
    vectors = read(exchange.to_npy(index, tmp_path / "out"), "npy")
    assert vectors.dtype == np.float16
    assert vectors.tobytes() == index.vectors.tobytes()


def test_a_name_that_is_taken_is_refused(tmp_path: Path, index: Index) -> None:
    out = exchange.to_npy(index, tmp_path / "out")
    for place in (out, index.folder, out / "about.json"):
        with pytest.raises(DeixisError, match="is there already"):
            exchange.to_npy(index, place)


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


@BOTH
def test_a_full_disk_leaves_nothing(tmp_path: Path, index: Index, way: str) -> None:
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (90, kept[1]))
    try:
        with pytest.raises(OSError, match=r"too large|No space"):
            WAYS[way](index, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert not list(tmp_path.iterdir())
