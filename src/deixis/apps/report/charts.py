"""The geometry of the report's small charts, in per cent of their width: a template draws them at any size."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from deixis.apps.common.formatting import MINUS, Number, points, signed, signed_span

__all__ = [
    "Dot",
    "Estimate",
    "Heat",
    "HeatCell",
    "IntervalPlot",
    "Reliability",
    "Tick",
    "estimate",
    "heat",
    "hundred",
    "interval_plot",
    "reliability",
]


class Estimate(NamedTuple):
    """A value with its 95 % interval; all shares in 0..1, or differences of shares."""

    value: Number
    low: Number | None = None
    high: Number | None = None

    @property
    def tone(self) -> str:
        """`better` or `worse` where the interval leaves 0 out, `same` where both ends are 0, else `unclear`."""
        if self.low is None or self.high is None:
            return "unclear"
        if self.low > 0:
            return "better"
        if self.high < 0:
            return "worse"
        return "same" if self.low == self.high == 0 else "unclear"

    @property
    def span(self) -> str:
        """The interval of a difference, in points; empty without one, or where nothing changed."""
        if self.low is None or self.high is None or self.tone == "same":
            return ""
        return signed_span(self.low, self.high)


class Dot(NamedTuple):
    """One row of an interval plot; positions in per cent of the width."""

    label: str
    value_text: str
    span: str
    tone: str
    value: Number
    low: Number
    high: Number


class Tick(NamedTuple):
    """A mark on the axis: its place in per cent, and its label in points."""

    place: Number
    label: str
    anchor: str


class IntervalPlot(NamedTuple):
    """Dots with intervals above one axis that holds 0."""

    dots: list[Dot]
    ticks: list[Tick]
    zero: Number


class Reliability(NamedTuple):
    """Predicted chances, from left to right, and observed shares, from top to bottom: places in per cent of the
    square, each with those of the ends of its interval; and the marks on both axes."""

    dots: list[tuple[Number, Number, Number, Number]]
    ticks: list[Tick]


class HeatCell(NamedTuple):
    """A cell of the heat table: its figure, its tint in 0..1, and how many splits chose it."""

    text: str
    tint: Number
    chosen: int


class Heat(NamedTuple):
    """Validation figures by steps (columns) and strength (rows)."""

    steps: list[str]
    rows: list[tuple[str, list[HeatCell | None]]]
    splits: int


def estimate(entry: Any) -> Estimate | None:
    """Reads `{"value", "low", "high"}` or a bare number; None where there is no value."""
    if isinstance(entry, Mapping):
        value = entry.get("value")
        return None if value is None else Estimate(value, entry.get("low"), entry.get("high"))
    return Estimate(float(entry)) if isinstance(entry, int | float) else None


def interval_plot(rows: Sequence[tuple[str, Estimate]]) -> IntervalPlot | None:
    """Places estimates on a common axis in points that holds 0; None without rows."""
    if not rows:
        return None
    ends = [100 * end for _, item in rows for end in item if end is not None]
    step = _step(max(*ends, 0.0) - min(*ends, 0.0))
    first, last = math.floor(min(*ends, 0.0) / step - 0.1), math.ceil(max(*ends, 0.0) / step + 0.1)

    def place(value: Number) -> float:
        return round(100 * (value / step - first) / (last - first), 2)

    dots = [_dot(label, item, place) for label, item in rows]
    ticks = [_tick(index * step, place(index * step), step) for index in range(first, last + 1)]
    return IntervalPlot(dots, ticks, place(0.0))


def _step(width: Number, wanted: int = 6) -> float:
    rough = max(width, 4.0) / wanted
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _dot(label: str, item: Estimate, place: Any) -> Dot:
    low, high = (item.value if end is None else end for end in (item.low, item.high))
    places = (place(100 * value) for value in (item.value, low, high))
    return Dot(label, signed(item.value), item.span, item.tone, *places)


def _tick(value: Number, place: Number, step: Number) -> Tick:
    decimals = 0 if step >= 1 else 1
    text = f"{value:+.{decimals}f}".replace("-", MINUS)
    anchor = "start" if place < 2 else "end" if place > 98 else "middle"
    return Tick(place, "0" if abs(value) < step / 2 else text, anchor)


def reliability(points: Sequence[Mapping[str, Number]]) -> Reliability:
    """Places the points of a reliability diagram in a square that is as wide as the largest of them needs.

    Args:
        points: each with `told`, `came`, `low` and `high`, in 0..1.
    """
    most = max(max(each["told"], each["came"], each["high"]) for each in points)
    end = next((each for each in (0.02, 0.05, 0.1, 0.2, 0.5, 0.8) if most <= each), 1.0)

    def place(share: Number) -> float:
        return round(100 * share / end, 2)

    dots = [
        (place(each["told"]), 100 - place(each["came"]), 100 - place(each["low"]), 100 - place(each["high"]))
        for each in points
    ]
    ticks = [Tick(place(end * i / 5), f"{100 * end * i / 5:g}", "middle") for i in range(6)]
    return Reliability(dots, ticks)


def hundred(before: Number, after: Number) -> dict[str, int]:
    """Counts of 100 searches for a field of 100 marks: `kept` found before and now, `gained`, `lost`, `missed` still.

    The counts are net: a search lost and another gained cancel out.
    """
    old, new = round(100 * before), round(100 * after)
    kept = min(old, new)
    return {"kept": kept, "gained": new - kept, "lost": old - kept, "missed": 100 - max(old, new)}


def heat(curves: Sequence[Mapping[str, Any]], chosen: Sequence[Mapping[str, Any]]) -> Heat | None:
    """Averages the validation curves over the splits.

    Args:
        curves: one mapping a split, with `steps`, `strength` and `mrr` (the primary measure; rows by steps, columns
            by strength).
        chosen: what each split picked, with `steps` and `strength`.
    """
    figures: dict[tuple[Number, Number], list[Number]] = defaultdict(list)
    for curve in curves:
        for steps, row in zip(curve["steps"], curve["mrr"], strict=False):
            for strength, value in zip(curve["strength"], row, strict=False):
                if value is not None:
                    figures[steps, strength].append(value)
    if not figures:
        return None
    means = {cell: sum(values) / len(values) for cell, values in figures.items()}
    picks = [(pick.get("steps"), pick.get("strength")) for pick in chosen]
    columns, strengths = (sorted({cell[axis] for cell in means}) for axis in (0, 1))
    rows = [(f"{s:g}", [_cell(means, (n, s), picks) for n in columns]) for s in strengths]
    return Heat([f"{n:g}" for n in columns], rows, len(curves))


def _cell(means: dict[tuple[Number, Number], float], cell: tuple[Number, Number], picks: list[Any]) -> HeatCell | None:
    if cell not in means:
        return None
    low, high = min(means.values()), max(means.values())
    tint = (means[cell] - low) / (high - low) if high > low else 0.0
    return HeatCell(points(means[cell]), round(tint, 3), picks.count(cell))
