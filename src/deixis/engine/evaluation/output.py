"""What a protocol measured of one model: one value a query, so that models can be compared query by query."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from deixis.engine.evaluation.data import EvalSet
from deixis.ops.stats import Interval, cluster_bootstrap

__all__ = ["Column", "EvalOutput", "EvalReporter", "MeanInterval", "QueryValues", "difference"]


@runtime_checkable
class EvalReporter(Protocol):
    """What a protocol reports its progress to; `deixis.apps.common.console.Reporter` is one."""

    def say(self, text: str) -> None:
        """One remark."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Times a step."""

    def bar(self, name: str) -> AbstractContextManager[Any]:
        """Gives a function of (done, total)."""


class Column(NamedTuple):
    """What a value is of: a metric, under a condition where a protocol has several (images a class, a style, a k)."""

    metric: str
    condition: str = ""


class MeanInterval(NamedTuple):
    """A mean with its 95 % interval; without ends where there are fewer than two concepts."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class QueryValues:
    """One value a query.

    Attributes:
        values: [Q].
        queries: names of the queries, by which those of two models are paired.
        clusters: equal for queries of one concept [Q].
    """

    values: Float[np.ndarray, " Q"]
    queries: tuple[str, ...]
    clusters: Int[np.ndarray, " Q"]

    def estimate(self) -> MeanInterval:
        """The mean, and its interval over concepts."""
        return _estimate(self.values, self.clusters)


@dataclasses.dataclass(frozen=True)
class EvalOutput:
    """What a protocol measured of one model.

    Attributes:
        arms: what is compared on the model (methods, maps; empty where nothing is) -> column -> values.
        notes: what a reader should know.
        facts: more for `result.json`.
        detail: what the protocol's own report is made from, where it has one.
    """

    arms: Mapping[str, Mapping[Column, QueryValues]]
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    detail: Any = None

    @classmethod
    def of(
        cls,
        columns: Mapping[Column, Float[np.ndarray, " Q"]],
        data: EvalSet,
        notes: Sequence[str] = (),
        **facts: Any,
    ) -> EvalOutput:
        """Of one value a sample in each column.

        Args:
            columns: the values.
            data: the samples that are reported on.
            notes: what a reader should know.
            **facts: more for `result.json`.
        """
        values = {column: QueryValues(each, data.ids, data.clusters) for column, each in columns.items()}
        return cls({"": values}, tuple(notes), {"images": len(data.samples), **facts})

    def __iter__(self) -> Iterator[tuple[str, Column, QueryValues]]:
        """All values: arm, column, values."""
        for arm, columns in self.arms.items():
            for column, values in columns.items():
                yield arm, column, values


def difference(left: QueryValues, right: QueryValues) -> MeanInterval:
    """How much more the left side is, query by query; without an interval where the queries are not the same."""
    if left.queries != right.queries:
        return MeanInterval(float(left.values.mean() - right.values.mean()))
    return _estimate(left.values - right.values, left.clusters)


def _estimate(values: Float[np.ndarray, " Q"], clusters: Int[np.ndarray, " Q"]) -> MeanInterval:
    if len(np.unique(clusters)) < 2:
        return MeanInterval(float(values.mean()))
    found: Interval = cluster_bootstrap(values, clusters)
    return MeanInterval(*found)
