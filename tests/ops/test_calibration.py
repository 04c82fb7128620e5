"""Chances from scores: rising, never certain, and judged by what came true."""

from __future__ import annotations

import numpy as np
import pytest

from deixis.ops.calibration import (
    Isotonic,
    brier,
    calibration_error,
    isotonic,
    log_loss,
    logistic,
    reliability,
    shifted,
)


def drawn(chances: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(chances.shape) < chances


def test_a_logistic_truth_is_found_again() -> None:
    inputs = np.random.default_rng(1).normal(size=(20_000, 2))
    found = logistic(inputs, drawn(1 / (1 + np.exp(-(1.5 * inputs[:, 0] + 0.5 * inputs[:, 1] - 1)))))
    assert np.allclose([*found.weights, found.offset], [1.5, 0.5, -1], atol=0.08)


def test_no_more_of_anything_lowers_a_logistic_chance() -> None:
    x = np.random.default_rng(2).normal(size=(500, 2))
    found = logistic(x, drawn(1 / (1 + np.exp(x[:, 0] - x[:, 1]))))
    assert found.weights[0] == 0
    assert found.weights[1] > 0.5


def test_what_can_be_parted_is_not_told_for_certain() -> None:
    found = logistic(np.arange(10.0)[:, None], np.arange(10) >= 5)
    told = found(np.array([[0.0], [9.0]]))
    assert 0.05 < told[0] < 0.2
    assert 0.8 < told[1] < 0.95


def test_scores_in_the_wrong_order_share_their_mean() -> None:
    found = isotonic(np.array([1.0, 2, 3, 4, 5, 6]), np.array([0, 1, 0, 1, 1, 1], bool))
    assert np.allclose(found(np.array([2.0, 3.0])), 0.5)
    assert np.all(np.diff(found(np.linspace(0, 7, 50))) >= 0)
    assert found(np.array([99.0]))[0] == pytest.approx(1 - 0.5 / 7)  # six cases are no certainty


def test_equal_scores_have_one_chance() -> None:
    found = isotonic(np.array([1.0, 1, 1, 1]), np.array([1, 0, 0, 0], bool))
    assert found.at == (1.0,)
    assert found(np.array([1.0]))[0] == 0.25


def test_a_line_that_falls_is_refused() -> None:
    with pytest.raises(ValueError, match="rises"):
        Isotonic.from_dict({"at": [0, 1], "chance": [0.5, 0.2]})


def test_matches_twice_as_rare_halve_the_odds() -> None:
    assert shifted(np.array([0.5]), -np.log(2))[0] == pytest.approx(1 / 3)


def test_chances_that_come_true_as_told_have_no_error_and_the_mean_alone_has_none_either() -> None:
    chances = np.random.default_rng(3).random(20_000)
    right = drawn(chances)
    always = np.full(len(chances), right.mean())
    assert calibration_error(chances, right) < 0.012
    assert calibration_error(1 - chances, right) > 0.4
    assert brier(always, right) == pytest.approx(right.mean() * (1 - right.mean()))
    assert brier(chances, right) < brier(always, right)  # which is why the error alone says too little
    assert log_loss(chances.clip(0.01, 0.99), right) < log_loss(always, right)


def test_a_diagram_tells_high_chances_apart_where_most_are_low() -> None:
    chances = np.concatenate([np.full(990, 0.01), np.full(10, 0.9)])
    bins = reliability(chances, drawn(chances))
    assert sum(len(each.members) for each in bins) == 1000
    assert bins[-1].told == pytest.approx(0.9)
