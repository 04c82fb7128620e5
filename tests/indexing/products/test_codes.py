"""Codes in 8 bits: what a scan of them may be off is known, and whole vectors have the last word."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing.changes import change
from deixis.indexing.index import Index
from deixis.indexing.products import codes
from deixis.indexing.products.codes import Codes, encode
from deixis.indexing.segments import unit
from tests.indexes import in_memory, made, named, random, same


def test_scores_of_codes_are_off_by_less_than_half_the_margin() -> None:
    vectors, queries = unit(random(500, 96), "Vector"), unit(random(2, 96, seed=1), "Query")
    vectors[0], vectors[1] = np.eye(96)[0], queries[1]
    rows = Codes(*encode(vectors), vectors)
    right = vectors.astype(float) @ queries.astype(float).T
    asked = codes.asked_in_codes(queries)
    if asked is None:
        pytest.skip("this processor has no product of 8 bits")
    off = np.abs(asked.product(rows) - right).max()
    assert 1e-4 < off <= (rows.margin(96) + asked.margin(rows)) / 2
    assert asked.lost < rows.lost / 50, "of a query two codes are taken"


def test_without_a_product_of_8_bits_codes_are_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, query = random(2000, 32), random(1, 32, seed=2)
    whole = in_memory(vectors).search(query, k=9)
    same(in_memory(vectors, "int8").search(query, k=9), whole)
    monkeypatch.setattr(codes, "_there", lambda width: False)
    same(in_memory(vectors, "int8").search(query, k=9), whole)
    monkeypatch.undo()
    monkeypatch.delitem(sys.modules, "torch")  # which a search from the shell does not load for this
    assert codes.asked_in_codes(unit(query, "Query")) is None


def test_vectors_of_another_length_are_no_codes() -> None:
    vectors = unit(random(5, 8), "Vector")
    vectors[3] *= 2
    with pytest.raises(DeixisError, match="Vector 13 has length 2, and int8 needs vectors of length 1"):
        encode(vectors, 10)
    vectors[3] = np.nan
    with pytest.raises(DeixisError, match="Vector 3 has length nan"):
        encode(vectors)


def test_an_index_of_codes_stays_one_through_changes_and_answers_as_a_whole_one(tmp_path: Path) -> None:
    vectors, queries = random(300, 32), random(40, 32, seed=1)
    index, whole = (made(tmp_path / dtype, vectors, dtype=dtype) for dtype in ("int8", "float32"))
    sizes = [(index.folder / name).stat().st_size - 128 for name in ("vectors.npy", "codes.npy", "scales.npy")]
    assert sizes == [300 * 32 * 4, 300 * 32, 300 * 4]
    for query in (queries, queries[0]):
        same(index.search(query, k=10), whole.search(query, k=10))
    for folder in (index.folder, whole.folder):
        change(folder, vectors=queries, items=named(*map(str, range(40))), removed=["image-7"])
    index, whole = (Index.open(each.folder, verify=True) for each in (index, whole))
    where = np.arange(index.rows) % 9 == 0
    for query in (queries, queries[0]):
        same(index.search(query, k=10), whole.search(query, k=10))
        same(index.search(query, k=10, where=where), whole.search(query, k=10, where=where))
    assert np.array_equal(index.vectors, whole.vectors)


def test_codes_that_are_damaged_or_gone_are_named(tmp_path: Path) -> None:
    index = made(tmp_path / "index", random(20, 8), dtype="int8")
    place = index.folder / "codes.npy"
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(DeixisError, match=r"codes\.npy is damaged \(287 bytes, 288 expected\)"):
        Index.open(index.folder)
    place.unlink()
    with pytest.raises(DeixisError, match=r"codes\.npy is damaged \(missing\)"):
        Index.open(index.folder)
