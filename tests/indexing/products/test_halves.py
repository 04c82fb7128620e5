"""Halves that are multiplied as they are stored: such scores are rough, but never off by more than is said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deixis.indexing.products import halves as products
from deixis.indexing.segments import unit
from tests.indexes import in_memory, random, same

needs_product = pytest.mark.skipif(not products._there(64), reason="this processor has no arithmetic of float16")


@needs_product
@pytest.mark.parametrize(("rows", "width"), [(1, 7), (5, 512), (300, 384), (5000, 64)])
def test_scores_are_off_by_less_than_half_the_margin(rows: int, width: int) -> None:
    vectors, queries = unit(random(rows, width), "Vector").astype(np.float16), unit(random(2, width, seed=1), "Query")
    vectors[0] = queries[0]  # where the score, and so its rounding, is largest
    halves = products.asked_in_halves(queries)
    assert halves is not None
    right = vectors.astype(np.float64) @ queries.astype(np.float64).T
    assert np.abs(halves.product(vectors) - right).max() <= halves.margin / 2
    assert halves.margin < 2e-3
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert np.abs(halves.product(vectors) - right).max() <= halves.margin / 2


def test_answers_are_those_of_halves_that_were_widened(monkeypatch: pytest.MonkeyPatch) -> None:
    index, query = in_memory(random(3000, 32), "float16"), random(1, 32, seed=2)
    whole = index.search(query, k=9)
    monkeypatch.setattr(products, "_there", lambda width: False)
    same(index.search(query, k=9), whole)


def test_a_product_that_sums_in_float16_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def summed(halves: products.Halves, vectors: np.ndarray) -> np.ndarray:
        return np.add.accumulate(vectors * halves.queries, axis=1, dtype=np.float16)[:, -1:].astype(np.float32)

    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_fp16_supported", lambda: True)
    monkeypatch.setattr(products.Halves, "product", summed)
    assert not products._there.__wrapped__(512)
