"""One chart for the protocols: values with error bars, as SVG and as PNG from the same shapes."""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from deixis.files import atomic_path

__all__ = ["Chart", "ChartPoint", "Series"]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 400, 56, 150, 34, 48
_INKS = ("#333333", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5230")
"""Colours that most colour-blind people can distinguish (Okabe and Ito)."""

_FAINT, _TEXT, _PAPER = "#dddddd", "#333333", "#ffffff"
_NAMED = {ink: f"var(--ink-{number}, {ink})" for number, ink in enumerate((*_INKS, _FAINT, _PAPER))}
"""In a page, colours that its style may name otherwise, as for a dark one."""

_SHARP = 2
"""Pixels of the PNG to one of the SVG, each way."""


class ChartPoint(NamedTuple):
    """A value from 0 to 1 at a place from 0 to 1, with the ends of its error bar where there is one."""

    place: float
    value: float
    low: float | None = None
    high: float | None = None


class Series(NamedTuple):
    """The points of one method."""

    name: str
    points: Sequence[ChartPoint]


class _Line(NamedTuple):
    points: Sequence[tuple[float, float]]
    ink: str
    width: float


class _Disc(NamedTuple):
    x: float
    y: float
    ink: str


class _Words(NamedTuple):
    x: float
    y: float
    words: str
    ink: str
    anchor: str  # start, middle or end


_Shape = _Line | _Disc | _Words


@dataclasses.dataclass(frozen=True)
class Chart:
    """What is drawn.

    Attributes:
        title: above.
        axis: what runs from left to right.
        ticks: places from 0 to 1 with their labels.
        series: of each method.
        joined: whether lines join the points of a series.
    """

    title: str
    axis: str
    ticks: Sequence[tuple[float, str]]
    series: Sequence[Series]
    joined: bool = True

    def svg(self) -> str:
        """As text, all words escaped; a page may set `--ink-0` to `--ink-9` (series, grid, paper) to other colours."""
        head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"'
        label = f'aria-label="{html.escape(self.title)}" font-family="sans-serif" font-size="13">'
        paper = f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="{_NAMED[_PAPER]}"/>'
        return "\n".join([f"{head} {label}", paper, *map(_svg, self._shapes()), "</svg>"])

    def save(self, path: Path) -> None:
        """As PNG."""
        picture = Image.new("RGB", (_WIDTH * _SHARP, _HEIGHT * _SHARP), _PAPER)
        brush, font = ImageDraw.Draw(picture), ImageFont.load_default(13 * _SHARP)
        for shape in self._shapes():
            _paint(brush, font, shape)
        with atomic_path(path) as temporary:
            picture.save(temporary, "png")

    def _shapes(self) -> list[_Shape]:
        bottom, top, step = self._range()

        def x(place: float) -> float:
            return _LEFT + place * (_WIDTH - _LEFT - _RIGHT)

        def y(value: float) -> float:
            return _HEIGHT - _BOTTOM - (value - bottom) / (top - bottom) * (_HEIGHT - _TOP - _BOTTOM)

        shapes: list[_Shape] = [_Words(_LEFT, _TOP - 16, self.title, _TEXT, "start")]
        for number in range(round((top - bottom) / step) + 1):
            level = bottom + number * step
            shapes.append(_Line([(x(0.0), y(level)), (x(1.0), y(level))], _FAINT, 1))
            shapes.append(_Words(_LEFT - 8, y(level) + 4, f"{100 * level:.0f} %", _TEXT, "end"))
        shapes += [_Words(x(place), _HEIGHT - _BOTTOM + 20, label, _TEXT, "middle") for place, label in self.ticks]
        shapes.append(_Words(x(0.5), _HEIGHT - 8, self.axis, _TEXT, "middle"))
        for number, each in enumerate(self.series):
            ink, shift = _INKS[number % len(_INKS)], 5 * (number - (len(self.series) - 1) / 2)
            places = [(x(point.place) + shift, y(point.value)) for point in each.points]
            if self.joined:
                shapes.append(_Line(places, ink, 2))
            for (across, up), point in zip(places, each.points, strict=True):
                if point.low is not None and point.high is not None:
                    shapes.append(_Line([(across, y(point.low)), (across, y(point.high))], ink, 1.5))
                shapes.append(_Disc(across, up, ink))
            shapes.append(_Words(_WIDTH - _RIGHT + 24, _TOP + 14 + 20 * number, each.name, ink, "start"))
        return shapes

    def _range(self) -> tuple[float, float, float]:
        """The lowest and the highest line of the grid, and the distance of lines."""
        ends = [end for each in self.series for p in each.points for end in (p.value, p.low, p.high) if end is not None]
        low, high = min(ends, default=0.0), max(ends, default=1.0)
        step = next(each for each in (0.01, 0.02, 0.05, 0.1, 0.2) if (high - low) / each <= 7 or each == 0.2)
        bottom, top = max(0.0, math.floor(low / step - 1e-9) * step), math.ceil(high / step - 1e-9) * step
        return bottom, max(top, bottom + step), step


def _svg(shape: _Shape) -> str:
    if isinstance(shape, _Line):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.points)
        return f'<polyline points="{points}" fill="none" stroke="{_NAMED[shape.ink]}" stroke-width="{shape.width}"/>'
    if isinstance(shape, _Disc):
        return f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="4" fill="{_NAMED[shape.ink]}"/>'
    words, place = html.escape(shape.words), f'x="{shape.x:.1f}" y="{shape.y:.1f}"'
    return f'<text {place} fill="{_NAMED[shape.ink]}" text-anchor="{shape.anchor}">{words}</text>'


def _paint(brush: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, shape: _Shape) -> None:
    if isinstance(shape, _Line):
        points = [(_SHARP * x, _SHARP * y) for x, y in shape.points]
        brush.line(points, fill=shape.ink, width=round(_SHARP * shape.width), joint="curve")
    elif isinstance(shape, _Disc):
        brush.circle((_SHARP * shape.x, _SHARP * shape.y), 4 * _SHARP, fill=shape.ink)
    else:
        anchor = {"start": "ls", "middle": "ms", "end": "rs"}[shape.anchor]
        brush.text((_SHARP * shape.x, _SHARP * shape.y), shape.words, fill=shape.ink, font=font, anchor=anchor)
