"""Intervals and corrections for honest comparisons; for a paired comparison, hand in the differences.

Needs numpy and scipy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import chdtri, ndtr, stdtr, stdtrit

__all__ = [
    "Interval",
    "chance_of_gain",
    "cluster_bootstrap",
    "cluster_error",
    "cluster_t_interval",
    "corrected_t_interval",
    "holm",
    "paired_p",
    "t_interval",
]

_CELLS = 4_000_000  # picked clusters that are held at once: some 100 MB
_PIECES = 1000  # of the distribution of a standard deviation; more change no third digit


class Interval(NamedTuple):
    """An estimate and the interval around it, in the unit of the values."""

    value: float
    low: float
    high: float


def cluster_bootstrap(
    values: Float[np.ndarray, " N"],
    clusters: Int[np.ndarray, " N"],
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean with a percentile interval that resamples whole clusters, since queries of one concept err together.

    Each draw takes as many clusters as there are, with replacement, and averages over all their values, so that a
    cluster weighs by its size. The same seed and clusters give the same draws, whatever the values. With fewer than
    some 20 clusters percentile intervals are somewhat too narrow.

    Source: Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.

    Args:
        values: one value a query [N]; differences for a paired comparison.
        clusters: equal for queries that belong together [N].
        draws: number of resamples.
        level: share of resampled means inside the interval.
        seed: of the draws.

    Raises:
        ValueError: fewer than two clusters, a value that is not finite, or a bad level or number of draws.
    """
    data = _checked(values, level, least=1)
    if draws < 1:
        raise ValueError(f"draws is {draws}; at least one is needed.")
    names, cluster_of = np.unique(clusters, return_inverse=True)
    if len(names) < 2:
        raise ValueError(
            f"all {len(data)} values are of one cluster: how much clusters differ can't be seen, so there is no "
            "interval. At least two clusters are needed."
        )
    sums = np.bincount(cluster_of, weights=data)
    sizes = np.bincount(cluster_of).astype(np.float64)
    means = _resampled_means(sums, sizes, draws, np.random.default_rng(seed))
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(data.mean()), float(low), float(high))


def _resampled_means(
    sums: Float[np.ndarray, " C"], sizes: Float[np.ndarray, " C"], draws: int, rng: np.random.Generator
) -> Float[np.ndarray, " draws"]:
    count = len(sums)
    step = max(1, _CELLS // count)
    means = []
    for start in range(0, draws, step):
        picks = rng.integers(0, count, size=(min(step, draws - start), count))
        means.append(sums[picks].sum(1) / sizes[picks].sum(1))
    return np.concatenate(means)


def cluster_error(values: Float[np.ndarray, " N"], clusters: Int[np.ndarray, " N"]) -> float:
    """The standard error of the mean of values that come in clusters, without resampling.

    Source: Cameron, Miller, A Practitioner's Guide to Cluster-Robust Inference, Journal of Human Resources 50 (2015).

    Args:
        values: one value a query [N].
        clusters: equal for queries that belong together [N].

    Raises:
        ValueError: fewer than two clusters, or a value that is not finite.
    """
    data = _checked(values, 0.95, least=1)
    names, cluster_of = np.unique(clusters, return_inverse=True)
    count = len(names)
    if count < 2:
        raise ValueError(f"all {len(data)} values are of one cluster: how much clusters differ can't be seen.")
    sums = np.bincount(cluster_of, weights=data - data.mean())
    return float((count / (count - 1) * (sums**2).sum()) ** 0.5 / len(data))


def cluster_t_interval(
    values: Float[np.ndarray, " N"], clusters: Int[np.ndarray, " N"], level: float = 0.95
) -> Interval:
    """The mean with Student's t interval over clusters, by `cluster_error`.

    The degrees of freedom are one fewer than the effective number of clusters, (sum of sizes)^2 / sum of squared sizes:
    where a few large clusters hold most values, they alone say how much clusters differ. Without draws the interval is
    the same whatever the seed.

    Source: Carter, Schnepel, Steigerwald, Asymptotic Behavior of a t-Test Robust to Cluster Heterogeneity, Review of
    Economics and Statistics 99 (2017), here without the part that depends on covariates.

    Args:
        values: one value a query [N].
        clusters: equal for queries that belong together [N].
        level: confidence of the interval.

    Raises:
        ValueError: fewer than two clusters, a value that is not finite, or a bad level.
    """
    data = _checked(values, level, least=1)
    sizes = np.unique(clusters, return_counts=True)[1].astype(np.float64)
    freedom = max(1.0, sizes.sum() ** 2 / (sizes**2).sum() - 1)
    half = float(stdtrit(freedom, (1 + level) / 2)) * cluster_error(data, clusters)
    mean = float(data.mean())
    return Interval(mean, mean - half, mean + half)


def t_interval(values: Sequence[float] | Float[np.ndarray, " N"], level: float = 0.95) -> Interval:
    """The mean with Student's t interval, for independent values (training seeds) [N].

    Raises:
        ValueError: fewer than two values, a value that is not finite, or a bad level.
    """
    data = _checked(values, level, least=2)
    return _t_interval(data, float(data.var(ddof=1)) / len(data), level)


def corrected_t_interval(
    differences: Sequence[float] | Float[np.ndarray, " N"], train_share: float, level: float = 0.95
) -> Interval:
    """The mean over random splits, with a t interval that allows for their overlap.

    Training sets of repeated splits share samples, so the plain interval is too narrow. The variance of the mean is
    taken as s^2 (1/k + test/train), s^2 being the sample variance over the k splits, with k - 1 degrees of freedom.

    Source: Nadeau, Bengio, Inference for the Generalization Error, Machine Learning 52 (2003), section 4.

    Args:
        differences: one value a split [N].
        train_share: share of the samples that is trained on, above 0 and below 1; the rest is tested on.
        level: confidence of the interval.

    Raises:
        ValueError: fewer than two splits, a value that is not finite, or a bad share or level.
    """
    data = _checked(differences, level, least=2)
    if not 0 < train_share < 1:
        raise ValueError(f"train_share is {train_share}; it must lie between 0 and 1.")
    variance = float(data.var(ddof=1)) * (1 / len(data) + (1 - train_share) / train_share)
    return _t_interval(data, variance, level)


def _t_interval(data: Float[np.ndarray, " N"], variance: float, level: float) -> Interval:
    mean = float(data.mean())
    half = float(stdtrit(len(data) - 1, (1 + level) / 2)) * variance**0.5
    return Interval(mean, mean - half, mean + half)


def _checked(values: Sequence[float] | Float[np.ndarray, " N"], level: float, least: int) -> Float[np.ndarray, " N"]:
    data = np.asarray(values, dtype=np.float64)
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it is a share, such as 0.95.")
    if len(data) < least:
        raise ValueError(f"{len(data)} values given; an interval needs at least {least}.")
    if not np.isfinite(data).all():
        raise ValueError(f"value {int(np.argmin(np.isfinite(data)))} is not finite: an interval would mean nothing.")
    return data


def paired_p(differences: Sequence[float] | Float[np.ndarray, " N"]) -> float:
    """Student's two-sided p-value of differences [N] whose true mean is 0; without any spread 1 or 0.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    data = _checked(differences, 0.95, least=2)
    mean, error = abs(float(data.mean())), float(data.std(ddof=1)) / len(data) ** 0.5
    if error == 0:
        return float(mean == 0)
    return float(2 * stdtr(len(data) - 1, -mean / error))


def chance_of_gain(effect: float, spread: float, count: int, at_least: float = 0.0, level: float = 0.95) -> float:
    """How likely `count` normal differences have a t interval above 0 and a mean of `at_least`: the power of a test
    that asks for both.

    The mean and the standard deviation of a normal sample are independent: the chance that the mean passes the higher
    of both bars is averaged over the deviations that a sample may have.

    Args:
        effect: the true difference.
        spread: the true standard deviation of the differences.
        count: how many there are.
        at_least: what the mean must reach besides.
        level: confidence of the interval.

    Raises:
        ValueError: fewer than two differences, or a negative spread.
    """
    if count < 2 or spread < 0:
        raise ValueError(f"{count} differences with a spread of {spread}: at least 2, and no less than 0, are needed.")
    if spread == 0:
        return float(effect > 0 and effect >= at_least)
    shares = (np.arange(_PIECES) + 0.5) / _PIECES
    deviations = spread * np.sqrt(chdtri(count - 1, shares) / (count - 1))
    error = count**-0.5
    bars = np.maximum(at_least, stdtrit(count - 1, (1 + level) / 2) * deviations * error)
    return float(ndtr((effect - bars) / (spread * error)).mean())


def holm(pvalues: Sequence[float] | Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """P-values adjusted for having made N comparisons, in the order given [N].

    The i-th smallest is multiplied by N - i + 1, never falls below a smaller one's, and is at most 1.

    Source: Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 6 (1979).

    Raises:
        ValueError: something is no probability.
    """
    given = np.asarray(pvalues, dtype=np.float64)
    if not ((given >= 0) & (given <= 1)).all():
        raise ValueError(f"p-values must lie between 0 and 1, got {given.tolist()}.")
    order = np.argsort(given, kind="stable")
    factors = np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(given[order] * factors), 1.0)
    return adjusted
