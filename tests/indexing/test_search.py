"""A search is exact: it gives what sorting all float64 scores gives, however it is cut up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deixis.errors import DeixisError
from deixis.indexing import exact
from deixis.indexing import index as module
from tests.indexes import full_sort, in_memory, made, random, same
from tests.support import examples


def compare(data: st.DataObject) -> None:
    """Small vectors of few values, so that equal scores abound, searched in any way and fully sorted."""
    width = data.draw(st.integers(1, 5))
    coordinate = st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 1.0 + 2**-22])
    vector = st.lists(coordinate, min_size=width, max_size=width).filter(any)
    vectors = np.array(data.draw(st.lists(vector, min_size=1, max_size=40)), np.float32)
    queries = np.array(data.draw(st.lists(vector, min_size=1, max_size=4)), np.float32)
    k, block = data.draw(st.integers(1, 45)), data.draw(st.integers(1, 45))
    cuts = sorted(data.draw(st.sets(st.integers(1, max(1, len(vectors) - 1)), max_size=3))) if len(vectors) > 1 else []
    masks = st.none() | st.lists(st.booleans(), min_size=len(vectors), max_size=len(vectors)).map(np.array)
    live, where = data.draw(masks), data.draw(masks)
    dtype = data.draw(st.sampled_from(["float32", "float16", "int8"]))
    wanted = np.ones(len(vectors), bool)
    for mask in (live, where):
        wanted &= True if mask is None else mask
    found = in_memory(vectors, dtype, cuts, live).search(queries, k, where=where, block=block)
    same(found, full_sort(vectors, queries, k, dtype, wanted))


@settings(max_examples=25)
@given(st.data())
def test_search_equals_a_full_sort_for_any_block_segment_mask_and_precision_with_ties_by_row(
    data: st.DataObject,
) -> None:
    compare(data)


@pytest.mark.slow
@examples(200)
@given(st.data())
def test_and_does_so_many_times(data: st.DataObject) -> None:
    compare(data)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
@pytest.mark.parametrize("block", [7, 64, 499, 500, None])
def test_on_ordinary_vectors_too(block: int | None, dtype: str) -> None:
    vectors, queries = random(500, 64), random(3, 64, seed=1)
    found = in_memory(vectors, dtype, [123]).search(queries, k=12, block=block)
    same(found, full_sort(vectors, queries, 12, dtype))


@pytest.mark.parametrize("block", [50, 333, 1000])
def test_on_vectors_that_differ_in_the_last_digits_only(block: int) -> None:
    vectors = random(1, 384) * (1 + 1e-7 * random(1000, 384, seed=1))
    query = vectors[:1] + random(1, 384, seed=2)
    same(in_memory(vectors).search(query, k=10, block=block), full_sort(vectors, query, 10))


def test_equal_vectors_score_equally_wherever_they_lie_and_come_by_row() -> None:
    vectors = np.concatenate([random(1, 384)] * 300 + [random(5, 384, seed=2)])
    for block in (17, 128, 1000):
        scores, rows = in_memory(vectors, cuts=[100]).search(vectors[0], k=300, block=block)
        assert rows[0].tolist() == list(range(300))
        assert len(set(scores[0].tolist())) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "int8"])
def test_a_query_gets_the_same_answer_alone_and_among_many(dtype: str) -> None:
    index, queries = in_memory(random(3000, 32), dtype), random(600, 32, seed=3)
    together = index.search(queries, k=5)
    for row in (0, 511, 512, 599):
        alone = index.search(queries[row], k=5)
        same((alone.scores[0], alone.rows[0]), (together.scores[row], together.rows[row]))


def test_rows_that_come_nearer_and_nearer_are_all_seen() -> None:
    """The worst order for a running k-th score: each block beats all before it."""
    angles = np.linspace(np.pi / 2, 0, 4000)
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    scores, rows = in_memory(vectors).search(np.array([[1.0, 0.0]]), k=4, block=100)
    assert rows.tolist() == [[3999, 3998, 3997, 3996]]
    assert (np.diff(scores[0]) <= 0).all()


def test_rows_are_scored_again_once_it_is_known_which_are_near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each block holds rows that are among the best so far and not in the end."""
    vectors, queries, counted = random(4000, 32), random(20, 32, seed=1), list[int]()
    plain = exact.rescored

    def count(*options: np.ndarray) -> np.ndarray:
        counted.append(len(options[1]))
        return plain(*options)

    monkeypatch.setattr(exact, "rescored", count)
    expected = in_memory(vectors).search(queries, k=10, block=200)
    assert 20 * 10 <= sum(counted) < 20 * 12
    monkeypatch.setattr(exact, "_WAITING", 0)  # many equal scores, say
    counted.clear()
    same(in_memory(vectors).search(queries, k=10, block=200), expected)
    assert sum(counted) > 20 * 24


def test_scores_are_cosines_whatever_the_lengths(tmp_path: Path) -> None:
    index = made(tmp_path / "index", np.array([[3.0, 0.0], [0.0, 1e-200], [1e200, 1e200]]))
    scores, rows = index.search(np.array([0.0, 250.0]), k=99)
    assert rows.tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(scores, [[1.0, 0.5**0.5, 0.0]], atol=1e-7)


def test_every_float16_is_widened_to_its_value() -> None:
    """Halves up to length 1: zeros of both signs, the smallest ones without a leading bit, and all others."""
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    halves = halves[np.abs(halves) <= 1][:, None].copy()
    halves.flags.writeable = False  # as a mapped index is; torch would warn
    wide = exact.widened(halves)
    np.testing.assert_array_equal(wide, halves.astype(np.float32))
    np.testing.assert_array_equal(np.signbit(wide), np.signbit(halves))


def test_half_the_space_costs_some_digits() -> None:
    vectors, queries = random(400, 128), random(20, 128, seed=4)
    whole, half = (in_memory(vectors, dtype).search(queries, k=400) for dtype in ("float32", "float16"))
    apart = np.abs(np.sort(whole.scores) - np.sort(half.scores)).max()
    assert 1e-6 < apart < 5e-4


def test_no_answer_is_given_that_was_not_asked_for() -> None:
    index = in_memory(random(50, 8), live=np.arange(50) != 7)
    where = np.arange(50) < 10
    assert set(index.search(random(3, 8), k=50, where=where).rows.ravel().tolist()) == set(range(10)) - {7}
    assert 7 not in index.search(random(3, 8), k=50).rows
    nothing = index.search(random(3, 8), k=5, where=np.zeros(50, bool))
    assert nothing.rows.shape == nothing.scores.shape == (3, 0)


@pytest.mark.parametrize(
    ("query", "options", "message"),
    [
        (np.ones(4), {}, "The query has 4 numbers, the vectors .* have 3"),
        (np.array([[1.0, 0, 0], [np.nan, 0, 0]]), {}, "Query 1 holds NaN"),
        (np.zeros(3), {}, "Query 0 is all zeros"),
        (np.ones(3), {"k": 0}, "k is 0"),
        (np.ones(3), {"block": 0}, "block is 0"),
        (np.ones(3), {"where": np.ones(5, bool)}, "mask has 5 values, the index .* 2 rows"),
    ],
)
def test_a_query_that_can_not_be_answered(query: np.ndarray, options: dict[str, int], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        in_memory(random(2, 3)).search(query, **options)


def test_no_queries_have_no_hits() -> None:
    scores, rows = in_memory(random(4, 3)).search(np.zeros((0, 3)), k=2)
    assert scores.shape == rows.shape == (0, 2)


def test_a_search_loads_no_torch() -> None:
    code = "import sys, deixis.indexing.changes; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    source = str(Path(module.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": source}).returncode == 0
