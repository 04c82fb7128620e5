"""Means of groups of people or places, and how far they lie apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor

from deixis.errors import DeixisError
from deixis.types import Sample

__all__ = ["COLUMNS", "EMPTY", "LEAST", "GroupGap", "gap", "group_columns", "group_means", "income_bucket"]

COLUMNS = ("gender", "tone", "region", "country", "income")
"""Of the data, whose values are groups; `income` is the monthly one of a household, a number."""

_LEVELS = ("low", "medium", "high")

EMPTY = -1.0
"""The mean of a group without images."""

LEAST = 100
"""Images of a group from which on its distance to others is stated."""

_DRAWS = 2000


def group_means(
    values: Float[Tensor, "N ..."], groups: Int64[Tensor, " N"], count: int
) -> tuple[Float[Tensor, "G ..."], Int64[Tensor, " G"]]:
    """The mean of each group's values, `EMPTY` for one that has none, and how many each has.

    Args:
        values: of N images.
        groups: number of each image's group.
        count: how many groups there are (G).
    """
    sizes = torch.bincount(groups, minlength=count)
    sums = values.new_zeros(count, *values.shape[1:]).index_add(0, groups, values)
    wide = sizes.reshape(-1, *[1] * (values.dim() - 1))
    return torch.where(wide > 0, sums / wide.clamp(min=1), torch.full_like(sums, EMPTY)), sizes


def income_bucket(income: Float[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """0 (low), 1 (medium) or 2 (high), from the monthly income of a household: round(ln(income) / 3) - 1."""
    return (income.log() / 3).round().long() - 1


def group_columns(samples: Sequence[Sample]) -> dict[str, tuple[str, ...]]:
    """Column -> the name of each sample's group, empty where it has none; columns with at least two groups.

    Args:
        samples: whose further columns are read.
    """
    found = {name: tuple(_named(name, sample.extra.get(name)) for sample in samples) for name in COLUMNS}
    return {name: column for name, column in found.items() if len({*column} - {""}) > 1}


def _named(column: str, value: Any) -> str:
    if column != "income" or value in (None, ""):
        return "" if value is None else str(value).strip()
    try:
        bucket = income_bucket(torch.tensor([float(value)], dtype=torch.float64).clamp(min=1.0))
    except ValueError as error:
        raise DeixisError(f"The income {value!r} is no number.", "Give monthly incomes as numbers.") from error
    return _LEVELS[int(bucket.clamp(0, len(_LEVELS) - 1))]


class GroupGap(NamedTuple):
    """How far the highest and the lowest of some groups lie apart, with a 95 % interval.

    Attributes:
        highest: the name of the group.
        lowest: likewise.
        value: of the highest less of the lowest.
        low: end of the interval.
        high: likewise.
    """

    highest: str
    lowest: str
    value: float
    low: float
    high: float


def gap(
    values: Float[np.ndarray, " N"],
    groups: Sequence[str],
    clusters: Int[np.ndarray, " N"],
    least: int = LEAST,
    seed: int = 0,
) -> GroupGap | None:
    """The gap between the groups with the highest and the lowest mean; its interval resamples concepts, which may be in
    both. None where fewer than two groups have `least` images: it would be noise.

    Args:
        values: of N images.
        groups: the name of each image's group; empty: it is in none.
        clusters: equal for images of one concept.
        least: images of a group that counts.
        seed: of the draws.
    """
    names = [name for name in sorted(set(groups) - {""}) if sum(each == name for each in groups) >= least]
    if len(names) < 2:
        return None
    member = np.array([[each == name for each in groups] for name in names], dtype=np.float64)
    means = member @ values / member.sum(axis=1)
    order = means.argsort(kind="stable")
    pair = [int(order[-1]), int(order[0])]
    _, cluster_of = np.unique(clusters, return_inverse=True)
    count = int(cluster_of.max()) + 1
    sums = np.stack([np.bincount(cluster_of, weights=member[i] * values, minlength=count) for i in pair])
    sizes = np.stack([np.bincount(cluster_of, weights=member[i], minlength=count) for i in pair])
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    drawn = [(weights @ total) / np.maximum(weights @ size, 1) for total, size in zip(sums, sizes, strict=True)]
    low, high = np.quantile(drawn[0] - drawn[1], [0.025, 0.975])
    value = float(means[pair[0]] - means[pair[1]])
    return GroupGap(names[pair[0]], names[pair[1]], value, float(low), float(high))
