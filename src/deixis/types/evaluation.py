"""What the file of a protocol declares about itself, as a plain literal: readable without importing torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["EvalMetric", "EvalProtocol"]


@dataclasses.dataclass(frozen=True)
class EvalMetric:
    """A number that a protocol reports.

    Attributes:
        name: in results and rows.
        title: in tables.
        better: which values are good.
    """

    name: str
    title: str
    better: Literal["higher", "lower"] = "higher"


@dataclasses.dataclass(frozen=True)
class EvalProtocol:
    """How models are measured: a file in `engine/evaluation/protocols` declares it as `PROTOCOL`.

    Attributes:
        title: what is measured, in one line.
        capabilities: the sets of capabilities with which a model can be measured; one of them is enough.
        fields: of the data that it reads: `images`, `captions`, `labels`, `masks`, `boxes`, `phrases`, `questions`,
            `style`, `individuals` (groups, or labels), `demographics` (a column of groups of people or places), or a
            column of the data.
        metrics: what it reports, the main one first.
        plots: which metrics are plotted.
        axis: what runs from left to right in the plot.
        joined: whether lines join the points of the plot.
        test: which samples are reported on, and how the others are used.
        source: the paper or code that it follows.
        methods: what is compared on each model where no `--methods` are named.
        slow: it takes minutes, and runs only where it is named, or encoders are.
        hours: it may take hours, and runs only where it is named.
        cure: which data have a column that it reads, for those that lack it.
    """

    title: str
    capabilities: tuple[tuple[str, ...], ...]
    fields: tuple[str, ...]
    metrics: tuple[EvalMetric, ...]
    plots: tuple[str, ...]
    axis: str = ""
    joined: bool = False
    test: str = ""
    source: str = ""
    methods: tuple[str, ...] = ()
    slow: bool = False
    hours: bool = False
    cure: str = ""
