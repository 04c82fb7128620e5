"""Near-duplicates: all pairs above a threshold, as comparing everything with everything would find them."""

from __future__ import annotations

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import near
from tests.indexes import in_memory, random


@pytest.mark.parametrize("block", [16, 100])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_pairs_are_those_of_all_with_all(monkeypatch: pytest.MonkeyPatch, block: int, dtype: str) -> None:
    monkeypatch.setattr(near, "_BLOCK", block)
    vectors = random(60, 6)
    vectors[50:] = vectors[10:20] + 0.05 * random(10, 6, seed=1)
    vectors[3] = vectors[40]
    live = np.arange(60) % 7 != 5
    index = in_memory(vectors, dtype, cuts=[20, 41], live=live)
    wide = index.vectors.astype(float)
    scores = np.array([[np.float32((one * other).sum()) for other in wide] for one in wide])
    pairs = [
        (one, other, float(scores[one, other]))
        for one in range(60)
        for other in range(one + 1, 60)
        if live[one] and live[other] and scores[one, other] >= 0.9
    ]
    expected = sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))
    assert len(expected) > 8
    assert index.near(0.9) == expected


def test_the_same_picture_three_times_makes_three_pairs_by_row() -> None:
    vectors = random(5, 16)
    vectors[[1, 4]] = vectors[2]
    found = in_memory(vectors).near(0.9999)
    assert [pair[:2] for pair in found] == [(1, 2), (1, 4), (2, 4)]
    assert len({score for *_, score in found}) == 1


def test_too_many_pairs_and_no_cosine_are_refused() -> None:
    index = in_memory(random(50, 4))
    with pytest.raises(DeixisError, match=r"More than 100 pairs .*Ask for pairs that are more alike"):
        near.pairs(index.segments, None, -1.0, limit=100)
    with pytest.raises(DeixisError, match=r"from -1 to 1"):
        index.near(95.0)
