from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from deixis.ops import stats
from deixis.ops.stats import (
    Interval,
    chance_of_gain,
    cluster_bootstrap,
    cluster_error,
    cluster_t_interval,
    corrected_t_interval,
    holm,
    paired_p,
    t_interval,
)


def test_the_bootstrap_equals_a_slow_loop_over_its_draws() -> None:
    rng = np.random.default_rng(3)
    values, clusters = rng.normal(size=40), rng.integers(0, 9, size=40) * 5 - 7
    names = np.unique(clusters)
    picks = np.random.default_rng(11).integers(0, len(names), size=(300, len(names)))
    means = [np.concatenate([values[clusters == names[i]] for i in draw]).mean() for draw in picks]
    low, high = np.quantile(means, [0.05, 0.95])
    found = cluster_bootstrap(values, clusters, draws=300, level=0.9, seed=11)
    assert found == pytest.approx(Interval(values.mean(), low, high))


def test_the_interval_covers_the_truth_where_ignoring_clusters_would_not() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(40), 8)
    covered = careless = 0
    for seed in range(200):
        values = rng.normal(size=40)[clusters] + rng.normal(size=320)
        _, low, high = cluster_bootstrap(values, clusters, draws=400, seed=seed)
        covered += low <= 0 <= high
        _, low, high = t_interval(values)
        careless += low <= 0 <= high
    assert 0.89 <= covered / 200 <= 0.98
    assert careless / 200 < 0.75


def test_the_value_is_the_plain_mean_over_queries() -> None:
    values, clusters = np.array([1.0, 1.0, 1.0, 0.0]), np.array([5, 5, 5, 2])
    value, low, high = cluster_bootstrap(values, clusters)
    assert (value, low, high) == (0.75, 0.0, 1.0)


def test_values_that_never_differ_have_an_interval_of_no_width() -> None:
    assert cluster_bootstrap(np.full(6, 0.5), np.arange(6)) == (0.5, 0.5, 0.5)


def test_the_names_of_clusters_and_the_order_of_queries_do_not_matter() -> None:
    rng = np.random.default_rng(1)
    values, clusters, order = rng.normal(size=50), rng.integers(0, 12, size=50), rng.permutation(50)
    once = cluster_bootstrap(values, clusters)
    assert cluster_bootstrap(values[order], clusters[order] * 3 + 100) == pytest.approx(once)
    assert cluster_bootstrap(values, clusters) == once
    assert cluster_bootstrap(values, clusters, seed=1) != once


def test_many_clusters_are_resampled_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    values, clusters = rng.normal(size=64), np.arange(64)
    whole = cluster_bootstrap(values, clusters, draws=333)
    monkeypatch.setattr(stats, "_CELLS", 64 * 10)
    assert cluster_bootstrap(values, clusters, draws=333) == pytest.approx(whole, abs=0.05)


def test_one_cluster_gives_no_interval_and_the_error_says_why() -> None:
    with pytest.raises(ValueError, match="all 3 values are of one cluster"):
        cluster_bootstrap(np.ones(3), np.zeros(3, dtype=int))


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "0 values given"),
        ([1.0, math.nan], {}, "value 1 is not finite"),
        ([1.0, 2.0], {"level": 95.0}, "level is 95.0"),
        ([1.0, 2.0], {"draws": 0}, "draws is 0"),
    ],
)
def test_what_can_not_be_resampled_is_refused(values: list[float], options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster_bootstrap(np.array(values, dtype=float), np.arange(len(values)), **options)


def test_t_interval_by_hand() -> None:
    # Mean 4, variance 2.5, five values; the table's t for 4 degrees of freedom is 2.776445.
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert t_interval([2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx((4.0, 4 - half, 4 + half), abs=1e-6)


def test_corrected_t_interval_by_hand() -> None:
    # The same, with the factor 1/5 + 0.4/0.6 in place of 1/5.
    half = 2.776445 * math.sqrt(2.5 * (1 / 5 + 0.4 / 0.6))
    found = corrected_t_interval([2.0, 3.0, 4.0, 5.0, 6.0], train_share=0.6)
    assert found == pytest.approx((4.0, 4 - half, 4 + half), abs=1e-6)


def test_the_error_of_a_mean_of_clusters_by_hand() -> None:
    # Sums of what is left after the mean 2: -2, 1, 1; times 3 / 2 for three clusters; over four values.
    values, clusters = np.array([1.0, 1.0, 3.0, 3.0]), np.array([0, 0, 1, 2])
    assert cluster_error(values, clusters) == pytest.approx((1.5 * 6) ** 0.5 / 4)
    alone = np.random.default_rng(0).normal(size=30)
    assert cluster_error(alone, np.arange(30)) == pytest.approx(alone.std(ddof=1) / 30**0.5)


def test_single_values_as_clusters_give_the_t_interval() -> None:
    values = np.random.default_rng(1).normal(size=20)
    assert cluster_t_interval(values, np.arange(20)) == pytest.approx(t_interval(values))


def test_a_few_large_clusters_count_for_little_more_than_themselves() -> None:
    """Three clusters of ten beside three single values: some three effective clusters, and a wide interval."""
    clusters = np.array([*np.repeat([0, 1, 2], 10), 3, 4, 5])
    values = np.random.default_rng(2).normal(size=33)
    found = cluster_t_interval(values, clusters)
    half = stdtrit(33**2 / 303 - 1, 0.975) * cluster_error(values, clusters)
    assert found.high - found.low == pytest.approx(2 * half)


def test_one_cluster_has_no_error() -> None:
    with pytest.raises(ValueError, match="of one cluster"):
        cluster_error(np.array([1.0, 2.0]), np.array([3, 3]))


def test_t_intervals_need_two_values_and_a_share_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        t_interval([1.0])
    with pytest.raises(ValueError, match="at least 2"):
        corrected_t_interval(np.array([1.0]), 0.6)
    with pytest.raises(ValueError, match=r"train_share is 1\.0"):
        corrected_t_interval([1.0, 2.0], 1.0)


def test_holm_by_hand() -> None:
    # Sorted 0.005 0.01 0.03 0.04, times 4 3 2 1: 0.02 0.03 0.06 0.04; the last is raised to its forerunner.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]
    assert holm([]).shape == (0,)


@pytest.mark.parametrize("bad", [[-0.1], [1.1], [math.nan]])
def test_holm_refuses_what_is_no_probability(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm(bad)


def test_the_p_value_by_hand_and_at_its_ends() -> None:
    # t = 4 / sqrt(2.5 / 5) = 5.657 with 4 degrees of freedom.
    assert paired_p([2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(0.004812, abs=1e-5)
    assert paired_p([-2.0, -3.0, -4.0, -5.0, -6.0]) == paired_p([2.0, 3.0, 4.0, 5.0, 6.0])
    assert (paired_p([0.0, 0.0]), paired_p([1.0, 1.0])) == (1.0, 0.0)
    assert paired_p([1.0, -1.0]) == 1.0


def test_a_p_value_below_a_twentieth_is_an_interval_without_0() -> None:
    for values in np.random.default_rng(5).normal(0.7, 1, size=(50, 6)):
        _, low, high = t_interval(values)
        assert (paired_p(values) < 0.05) == (not low <= 0 <= high)


def test_the_chance_of_a_gain_is_that_of_many_draws() -> None:
    draws = np.random.default_rng(1).normal(0.5, 1.0, size=(20000, 7))
    low = draws.mean(1) - 2.446912 * draws.std(1, ddof=1) / math.sqrt(7)
    for least in (0.0, 0.6):
        wanted = np.mean((low > 0) & (draws.mean(1) >= least))
        assert chance_of_gain(0.5, 1.0, 7, least) == pytest.approx(wanted, abs=0.015)


def test_the_chance_of_a_gain_where_there_is_none_is_half_of_what_the_level_leaves() -> None:
    assert chance_of_gain(0.0, 1.0, 5) == pytest.approx(0.025, abs=5e-4)
    assert chance_of_gain(0.0, 3.0, 20, level=0.9) == pytest.approx(0.05, abs=5e-4)


def test_the_chance_of_a_gain_without_spread_and_what_is_refused() -> None:
    assert [chance_of_gain(effect, 0.0, 5, 0.1) for effect in (0.1, 0.05, 0.0)] == [1.0, 0.0, 0.0]
    with pytest.raises(ValueError, match="at least 2"):
        chance_of_gain(1.0, 1.0, 1)
