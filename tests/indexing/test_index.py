from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deixis.errors import DeixisError
from deixis.indexing import index as module
from deixis.indexing.index import Index, build


def made(folder: Path, vectors: np.ndarray, **options: Any) -> Index:
    items = [{"id": f"image-{row}", "path": f"{row}.png", "captions": [f"number {row}"]} for row in range(len(vectors))]
    return build(folder, vectors, items, **{"model": "starter", "fingerprint": "abc123"} | options)


def random(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def in_memory(vectors: np.ndarray) -> Index:
    return Index(Path("nowhere"), module._unit(vectors, "Vector"), {"model": "starter"}, [])


def full_sort(vectors: np.ndarray, queries: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """All scores in float64, rounded once to float32; sorted by score, then by row."""
    unit, asked = module._unit(vectors, "Vector").astype(float), module._unit(queries, "Query").astype(float)
    scores = np.array([[np.float32((row * query).sum()) for row in unit] for query in asked])
    rows = np.array([sorted(range(len(unit)), key=lambda row: (-line[row], row))[:k] for line in scores])
    return np.take_along_axis(scores, rows, 1), rows


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_search_equals_a_full_sort_for_any_block_with_ties_by_row(data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 5))
    coordinate = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 1.0 + 2**-22])
    vector = st.lists(coordinate, min_size=width, max_size=width).filter(any)
    vectors = np.array(data.draw(st.lists(vector, min_size=1, max_size=40)), np.float32)
    queries = np.array(data.draw(st.lists(vector, min_size=1, max_size=4)), np.float32)
    k, block = data.draw(st.integers(1, 45)), data.draw(st.integers(1, 45))
    scores, rows = in_memory(vectors).search(queries, k=k, block=block)
    expected_scores, expected_rows = full_sort(vectors, queries, k)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("block", [1, 7, 64, 499, 500, 10_000])
def test_on_ordinary_vectors_too(block: int) -> None:
    vectors, queries = random(500, 64), random(9, 64, seed=1)
    scores, rows = in_memory(vectors).search(queries, k=12, block=block)
    expected_scores, expected_rows = full_sort(vectors, queries, 12)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


@pytest.mark.parametrize("block", [50, 333, 1000])
def test_on_vectors_that_differ_in_the_last_digits_only(block: int) -> None:
    vectors = random(1, 384) * (1 + 1e-7 * random(1000, 384, seed=1))
    query = vectors[:1] + random(1, 384, seed=2)
    scores, rows = in_memory(vectors).search(query, k=10, block=block)
    expected_scores, expected_rows = full_sort(vectors, query, 10)
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_array_equal(scores, expected_scores)


def test_equal_vectors_score_equally_wherever_they_lie_and_come_by_row() -> None:
    vectors = np.concatenate([random(1, 384)] * 300 + [random(5, 384, seed=2)])
    for block in (1, 17, 128, 1000):
        scores, rows = in_memory(vectors).search(vectors[0], k=300, block=block)
        assert rows[0].tolist() == list(range(300))
        assert len(set(scores[0].tolist())) == 1


def test_a_query_gets_the_same_answer_alone_and_among_many() -> None:
    index, queries = in_memory(random(200, 32)), random(600, 32, seed=3)
    together = index.search(queries, k=5)
    for row in (0, 255, 256, 599):
        alone = index.search(queries[row], k=5)
        np.testing.assert_array_equal(alone.rows[0], together.rows[row])
        np.testing.assert_array_equal(alone.scores[0], together.scores[row])


def test_scores_are_cosines_whatever_the_lengths(tmp_path: Path) -> None:
    index = made(tmp_path / "index", np.array([[3.0, 0.0], [0.0, 1e-200], [1e200, 1e200]]))
    scores, rows = index.search(np.array([0.0, 250.0]), k=99)
    assert rows.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(scores, [[1.0, 0.5**0.5, 0.0]], atol=1e-7)


def test_what_was_built_is_opened_with_its_items_and_a_memory_map(tmp_path: Path) -> None:
    built = made(tmp_path / "run" / "index", random(5, 3))
    index = Index.open(tmp_path / "run" / "index")
    assert isinstance(index.vectors, np.memmap)
    assert len(index) == len(built) == 5
    np.testing.assert_array_equal(index.vectors, built.vectors)
    np.testing.assert_allclose(np.linalg.norm(index.vectors, axis=1), 1, atol=1e-6)
    assert index.item(3) == {"id": "image-3", "path": "3.png", "captions": ["number 3"]}
    assert {key: index.manifest[key] for key in ("format", "model", "count", "width")} == {
        "format": 1,
        "model": "starter",
        "count": 5,
        "width": 3,
    }


def test_vectors_are_written_in_pieces_and_bad_ones_named_by_their_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.array(made(tmp_path / "whole", random(11, 4)).vectors)
    monkeypatch.setattr(module, "_ROWS", 4)
    np.testing.assert_array_equal(made(tmp_path / "pieces", random(11, 4)).vectors, whole)
    broken = random(11, 4)
    broken[9] = 0
    with pytest.raises(DeixisError, match="Vector 9 is all zeros"):
        made(tmp_path / "broken", broken)
    broken[6, 1] = np.nan
    with pytest.raises(DeixisError, match="Vector 6 holds NaN or infinity"):
        made(tmp_path / "broken", broken)


def test_odd_names_and_captions_come_back_as_they_were(tmp_path: Path) -> None:
    item = {"path": os.fsdecode(b"caf\xe9.png"), "captions": ["two\nlines \u2028 \x85 é 猫", ""], "label": None}
    index = build(tmp_path / "index", random(1, 2), [item], model="m", fingerprint="f")
    assert index.item(0) == item
    assert build(tmp_path / "other", random(1, 2), [{"path": Path("a/b")}], model="m", fingerprint="f").item(0) == {
        "path": "a/b"
    }


def test_a_failed_build_leaves_nothing_and_an_older_index_as_it_was(tmp_path: Path) -> None:
    old = np.array(made(tmp_path / "index", random(3, 2)).vectors)
    with pytest.raises(TypeError):
        build(tmp_path / "index", random(1, 2), [{"path": object()}], model="m", fingerprint="f")
    with pytest.raises(DeixisError):
        made(tmp_path / "new", np.zeros((1, 2)))
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
    np.testing.assert_array_equal(Index.open(tmp_path / "index").vectors, old)


def test_an_index_is_replaced_but_nothing_else_is(tmp_path: Path) -> None:
    made(tmp_path / "index", random(3, 2))
    assert len(made(tmp_path / "index", random(7, 2))) == 7
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "manifest.json").write_text("{}")
    (tmp_path / "photos" / "one.jpg").write_bytes(b"mine")
    (tmp_path / "file").write_text("mine")
    for name in ("photos", "file"):
        with pytest.raises(DeixisError, match="is no index, so it is not replaced"):
            made(tmp_path / name, random(3, 2))
    assert (tmp_path / "photos" / "one.jpg").read_bytes() == b"mine"


def test_nothing_to_index_and_counts_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="nothing to index"):
        build(tmp_path / "index", random(0, 2), [], model="m", fingerprint="f")
    with pytest.raises(DeixisError, match="2 vectors were given for 1 items"):
        build(tmp_path / "index", random(2, 2), [{}], model="m", fingerprint="f")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def other_shape(path: Path) -> None:
    np.save(path, np.ones((4, 9), np.float32))


def other_kind(path: Path) -> None:
    np.save(path, np.ones((4, 3)))


def a_pickle(path: Path) -> None:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def without_width(path: Path) -> None:
    manifest = json.loads(path.read_text())
    del manifest["width"]
    path.write_text(json.dumps(manifest))


def of_no_rows(path: Path) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | {"count": 0}))


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        *[("vectors.npy", harm) for harm in (cut, change_a_byte, other_shape, other_kind, a_pickle, empty, os.unlink)],
        *[("items.jsonl", harm) for harm in (cut, change_a_byte, empty, os.unlink)],
        *[("manifest.json", harm) for harm in (cut, empty, without_width, of_no_rows)],
    ],
)
def test_a_damaged_file_is_named_with_the_cure(tmp_path: Path, name: str, harm: Callable[[Path], None]) -> None:
    made(tmp_path / "index", random(4, 3))
    harm(tmp_path / "index" / name)
    with pytest.raises(DeixisError, match=rf"{name} is damaged .*Make the index again"):
        Index.open(tmp_path / "index")


def test_an_item_that_is_no_object_is_named_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "index" / "items.jsonl"
    made(tmp_path / "index", random(2, 3))
    path.write_bytes(path.read_bytes().split(b"\n")[0] + b"\n[1]\n")
    index = Index.open(tmp_path / "index", verify=False)
    assert index.item(0)["id"] == "image-0"
    with pytest.raises(DeixisError, match=r"items\.jsonl is damaged \(line 2"):
        index.item(1)


def test_another_version_and_another_folder_are_told_apart_from_damage(tmp_path: Path) -> None:
    made(tmp_path / "index", random(4, 3))
    path = tmp_path / "index" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 2}))
    with pytest.raises(DeixisError, match=r"has format 2, .* reads format 1.*Upgrade"):
        Index.open(tmp_path / "index")
    with pytest.raises(DeixisError, match=r"is no index.*Make one"):
        Index.open(tmp_path)


def test_queries_of_another_model_are_refused(tmp_path: Path) -> None:
    index = made(tmp_path / "index", random(2, 3), fingerprint="a" * 64)
    index.expect("a" * 64)
    with pytest.raises(DeixisError, match=r"made by the model 'starter' \(aaaaaaaaaaaa\).*make the index again"):
        index.expect("b" * 64)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (np.ones(4), {}, "The query has 4 numbers, the vectors .* have 3"),
        (np.array([[1.0, 0, 0], [np.nan, 0, 0]]), {}, "Query 1 holds NaN"),
        (np.zeros(3), {}, "Query 0 is all zeros"),
        (np.ones(3), {"k": 0}, "k is 0"),
        (np.ones(3), {"block": 0}, "block is 0"),
    ],
)
def test_a_query_that_can_not_be_answered(query: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        in_memory(random(2, 3)).search(query, **options)


def test_no_queries_have_no_hits() -> None:
    scores, rows = in_memory(random(4, 3)).search(np.zeros((0, 3)), k=2)
    assert scores.shape == rows.shape == (0, 2)


def test_a_search_loads_no_torch() -> None:
    code = "import sys, deixis.indexing.index; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    source = str(Path(module.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}).returncode == 0
