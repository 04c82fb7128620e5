"""What is compared of two learning curves: one number a seed, that changes its sign when the arms change places.

Without that symmetry, two equal arms would not give 0 on average, and the test of a claim would find what is not there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from deixis.errors import DeixisError

__all__ = ["Curve", "Effect", "area", "crossover", "effect", "images_to", "ratio", "value_at"]

Curve = Sequence[tuple[float, float]]
"""Pairs of images seen and the metric then, in ascending order, the first at 0 images; between them lines are drawn.
Few-shot claims have images a class in their place, from the fewest on, and no `ratio`."""

Statistic = Literal["final", "area", "crossover", "ratio"]


class Effect(NamedTuple):
    """By how much the first arm is ahead with one seed, and what has to be said of it."""

    value: float
    note: str = ""


def effect(statistic: Statistic, ours: Curve, theirs: Curve) -> Effect:
    """By how much `ours` is ahead of `theirs`.

    * `final`: difference of the last values.
    * `area`: difference of the means over all images seen.
    * `crossover`: the share of the budget in which the arm that is ahead at the end was ahead without a break, negative
      where that is the other arm.
    * `ratio`: logarithm of the images that the other needs for the highest level that both reach, over those that ours
      needs.

    Args:
        statistic: which of them.
        ours: curve of the first arm.
        theirs: curve of a baseline, with the same seed and budget.

    Raises:
        DeixisError: the curves do not span the same images, or a value is not finite.
    """
    _check(ours, theirs)
    if statistic == "final":
        return Effect(ours[-1][1] - theirs[-1][1])
    if statistic == "area":
        return Effect(area(ours) - area(theirs))
    return crossover(ours, theirs) if statistic == "crossover" else ratio(ours, theirs)


def area(curve: Curve) -> float:
    """The mean of the metric over all images seen, in its own unit."""
    images, values = np.array(curve, dtype=np.float64).T
    return float(np.diff(images) @ (values[1:] + values[:-1]) / 2 / (images[-1] - images[0]))


def value_at(curve: Curve, images: float) -> float:
    """The metric after so many images."""
    seen, values = np.array(curve, dtype=np.float64).T
    return float(np.interp(images, seen, values))


def crossover(ours: Curve, theirs: Curve) -> Effect:
    """From where on the arm that ends ahead was ahead, as the share of the budget behind that point; 0 for a tie."""
    images = sorted({seen for curve in (ours, theirs) for seen, _ in curve})
    gaps = [value_at(ours, each) - value_at(theirs, each) for each in images]
    sign = float(np.sign(gaps[-1]))
    if sign == 0:
        return Effect(0.0, "a tie at the end")
    behind = [index for index, gap in enumerate(gaps) if gap * sign <= 0]
    if not behind:
        return Effect(sign, "ahead from the start")
    last = behind[-1]
    rise = (0 - gaps[last]) / (gaps[last + 1] - gaps[last])
    point = images[last] + rise * (images[last + 1] - images[last])
    return Effect(sign * (1 - point / images[-1]), f"{'over' * (sign > 0) or 'under'}taken at {point:.0f} images")


def images_to(curve: Curve, level: float) -> float | None:
    """Images seen when the metric first reaches `level`; None if it never does."""
    before = curve[0]
    for here in curve:
        if here[1] >= level:
            rise = (level - before[1]) / (here[1] - before[1]) if here[1] > before[1] else 1.0
            return before[0] + max(rise, 0.0) * (here[0] - before[0])
        before = here
    return None


def ratio(ours: Curve, theirs: Curve) -> Effect:
    """Logarithm of how many times fewer images `ours` needs for the highest level that both reach.

    An arm that was never better than before training reached nothing, and counts as if it did so at the end. Fewer
    images than a hundredth of the budget count as so many, since a curve has no finer points.
    """
    budget = ours[-1][0]
    level = min(max(value for _, value in curve) for curve in (ours, theirs))
    needed = []
    for curve in (ours, theirs):
        learned = max(value for _, value in curve) > curve[0][1]
        needed.append(max(images_to(curve, level) or 0.0, budget / 100) if learned else budget)
    return Effect(math.log(needed[1] / needed[0]), f"{needed[0]:.0f} and {needed[1]:.0f} images to {level:.3g}")


def _check(ours: Curve, theirs: Curve) -> None:
    for curve in (ours, theirs):
        if len(curve) < 2 or not np.isfinite(np.array(curve, dtype=np.float64)).all():
            raise DeixisError(f"This is no curve: {list(curve)!r:.200}", "At least two finite points are needed.")
    if (ours[0][0], ours[-1][0]) != (theirs[0][0], theirs[-1][0]):
        raise DeixisError(
            f"One arm saw {ours[-1][0]:.0f} images and the other {theirs[-1][0]:.0f}.",
            "Arms are compared at equal images: give both the same budget and batch size.",
        )
