"""Composed queries: what the mixture says at its ends, between them, and when something is taken away."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deixis.errors import DeixisError
from deixis.indexing.compose import HOW, compose, mean
from deixis.methods import align


def directions(count: int, width: int = 16, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("how", HOW)
def test_the_ends_of_the_slider_are_the_words_and_the_picture(how: str) -> None:
    words, picture = directions(2)
    np.testing.assert_allclose(compose(words, 3 * picture, mix=0.0, how=how), words, atol=1e-6)
    np.testing.assert_allclose(compose(words, 3 * picture, mix=1.0, how=how), picture, atol=1e-6)


def test_the_sum_is_that_of_align() -> None:
    words, picture = directions(2)
    theirs = align.compose(torch.tensor(picture)[None], torch.tensor(words)[None], (0.3, 0.7))[0]
    np.testing.assert_allclose(compose(words, picture, mix=0.3, how="sum"), theirs, atol=1e-6)


def test_on_the_sphere_the_slider_is_a_share_of_the_way() -> None:
    words, picture = directions(2)
    whole = np.arccos(words @ picture)
    for mix in (0.1, 0.5, 0.9):
        query = compose(words, picture, mix=mix).astype(float)
        assert np.arccos(query @ words) == pytest.approx(mix * whole, abs=1e-5)
        assert np.arccos(query @ picture) == pytest.approx((1 - mix) * whole, abs=1e-5)


def test_halfway_the_two_ways_of_mixing_agree() -> None:
    words, picture = directions(2)
    np.testing.assert_allclose(compose(words, picture, how="sum"), compose(words, picture, how="sphere"), atol=1e-6)


def test_what_is_left_out_comes_further_away() -> None:
    words, unwanted = directions(2, seed=3)
    plain, without = compose(words, None), compose(words, None, unwanted)
    assert without @ unwanted < plain @ unwanted
    np.testing.assert_allclose(compose(words, None, unwanted, minus_weight=0.0), plain, atol=1e-6)


def test_one_of_several_can_weigh_more() -> None:
    rows = directions(2)
    np.testing.assert_allclose(mean(rows, (1.0, 0.0)), rows[0], atol=1e-6)
    assert mean(rows, (3.0, 1.0)) @ rows[0] > mean(rows) @ rows[0]
    np.testing.assert_allclose(mean(rows * [[5], [0.1]]), mean(rows), atol=1e-6)  # lengths do not count


def test_the_same_direction_twice_is_that_direction() -> None:
    [words] = directions(1)
    np.testing.assert_allclose(compose(words, words, mix=0.4), words, atol=1e-6)


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"words": None, "pictures": None}, "empty"),
        ({"words": None, "pictures": None, "minus": np.ones(4)}, "subtract"),
        ({"words": np.ones(4), "pictures": None, "minus": np.ones(4), "minus_weight": 1.0}, "cancel out"),
        ({"words": np.ones(4), "pictures": -np.ones(4)}, "cancel out"),
        ({"words": np.ones(4), "pictures": np.ones(4), "mix": 1.5}, "mix is 1.5"),
        ({"words": np.ones(4), "pictures": np.ones(4), "how": "cube"}, "'cube'"),
        ({"words": np.ones(4), "pictures": None, "minus": np.ones(4), "minus_weight": -1.0}, "minus_weight is -1"),
    ],
)
def test_a_query_that_points_nowhere_is_told(asked: dict, what: str) -> None:
    with pytest.raises(DeixisError, match=what):
        compose(**asked)
