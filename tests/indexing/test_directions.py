"""An index of fewer numbers a vector is as wide to the outside, finds what whole vectors find where they lie in these
directions, and stays whole through changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import changes
from deixis.indexing.approximate import build as build_graph
from deixis.indexing.directions import Storage, principal_directions
from deixis.indexing.exchange import to_npy
from deixis.indexing.index import Index
from tests.indexes import made, named, random, same


def flat(count: int) -> np.ndarray:
    """Vectors of 12 numbers that lie in 4 directions."""
    return random(count, 4) @ random(4, 12, seed=1)


def test_vectors_that_lie_in_the_directions_are_found_as_by_whole_ones(tmp_path: Path) -> None:
    whole, few = made(tmp_path / "whole", flat(40)), made(tmp_path / "few", flat(40), dtype=Storage("float32", 4))
    assert few.width == whole.width == 12
    assert few.segments[0].vectors.shape == (40, 4)
    np.testing.assert_allclose(few.vectors, whole.vectors, atol=1e-6)
    np.testing.assert_allclose(few.vector(7), whole.vector(7), atol=1e-6)
    np.testing.assert_allclose(few.sample(9), whole.sample(9), atol=1e-6)
    ours, theirs = (index.search(random(5, 12, seed=2), 6) for index in (few, whole))
    assert ours.rows.tolist() == theirs.rows.tolist()
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-6)
    same(few.search(few.vector(3), 1), (np.float32([[1]]), np.array([[3]])))


def test_what_is_added_lies_in_the_same_directions_and_what_is_removed_leaves_them(tmp_path: Path) -> None:
    made(tmp_path / "few", flat(20), dtype=Storage("float16", 4))
    changes.add(tmp_path / "few", random(2, 12, seed=3), named("a", "b"))
    changes.remove(tmp_path / "few", ["image-0", *[f"image-{row}" for row in range(5, 15)]])
    index = Index.open(tmp_path / "few", verify=True)
    assert len(index) == 11
    row = index.row_of("a")
    new = random(2, 12, seed=3)[0] @ index.directions @ index.directions.T
    np.testing.assert_allclose(index.vector(row), new / np.linalg.norm(new), atol=2e-3)
    exported = np.load(to_npy(index, tmp_path / "out") / "vectors.npy")
    assert exported.shape == (11, 12)


def test_an_index_made_again_has_new_directions_or_none(tmp_path: Path) -> None:
    made(tmp_path / "few", flat(20), dtype=Storage("float32", 4))
    first = (tmp_path / "few" / "directions.npy").read_bytes()
    again = made(tmp_path / "few", random(20, 12), dtype=Storage("float32", 3))
    assert again.directions is not None
    assert again.directions.shape == (12, 3)
    assert (tmp_path / "few" / str(again.manifest["directions"])).read_bytes() != first
    assert made(tmp_path / "few", random(20, 12)).directions is None
    assert not [*(tmp_path / "few").glob("directions*")]


@pytest.mark.parametrize("dims", [12, 13, -1])
def test_more_numbers_than_vectors_have_are_refused(tmp_path: Path, dims: int) -> None:
    with pytest.raises(DeixisError, match="and the vectors have 12"):
        made(tmp_path / "few", flat(20), dtype=Storage("float32", dims))
    assert not (tmp_path / "few").exists()


def test_damaged_directions_are_named_and_a_graph_wants_whole_vectors(tmp_path: Path) -> None:
    index = made(tmp_path / "few", flat(20), dtype=Storage("float32", 4))
    with pytest.raises(DeixisError, match=r"whole vectors|usearch"):
        build_graph(index)
    (tmp_path / "few" / "directions.npy").write_bytes(b"nothing")
    with pytest.raises(DeixisError, match=r"directions\.npy is damaged"):
        Index.open(tmp_path / "few").search(random(1, 12), 1)


def test_directions_are_orthonormal_and_hold_most_of_the_squares() -> None:
    vectors = random(50, 8)
    directions = principal_directions(vectors, 3)
    np.testing.assert_allclose(directions.T @ directions, np.eye(3), atol=1e-6)
    own, others = ((vectors @ some) ** 2 for some in (directions, np.eye(8, dtype=np.float32)[:, :3]))
    assert own.sum() > others.sum()
