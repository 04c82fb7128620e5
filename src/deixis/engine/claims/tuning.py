"""Which settings an arm tries: a grid, widened where the best lies at its edge; all arms try equally many."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deixis.errors import DeixisError

__all__ = ["WIDENINGS", "Setting", "Tried", "at_edge", "best", "ends", "first_trials", "next_trials", "require_equal"]

WIDENINGS = 2
"""How often a grid is widened at the most."""

Setting = dict[str, Any]
Tried = Sequence[tuple[Setting, float | None]]
"""Settings with their value on validation; None where training failed."""

Grid = Mapping[str, Sequence[Any]]


def first_trials(grids: Mapping[str, Grid]) -> dict[str, list[Setting]]:
    """All combinations of each arm's grid.

    Args:
        grids: arm -> its grid; an empty one tries the arm as it is.

    Raises:
        DeixisError: some arms would try more settings than others, or a grid is no set of different values.
    """
    for arm, grid in grids.items():
        for name, values in grid.items():
            if not values or any(values.count(each) > 1 for each in list(values)):
                raise DeixisError(
                    f"The grid of the arm {arm!r} has {values!r} for {name!r}.", "Give different values, at least one."
                )
    trials = {
        arm: [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
        for arm, grid in grids.items()
    }
    require_equal({arm: len(each) for arm, each in trials.items()})
    return trials


def require_equal(counts: Mapping[str, int]) -> None:
    """Refuses a comparison of arms that try unequal numbers of settings.

    Args:
        counts: arm -> how many it tries, or tried.

    Raises:
        DeixisError: they differ.
    """
    if len(set(counts.values())) > 1:
        raise DeixisError(
            f"The arms try unequal numbers of settings: {', '.join(f'{arm} {n}' for arm, n in counts.items())}.",
            "Give each arm a grid of equally many combinations, or the comparison is not fair.",
        )


def best(tried: Tried) -> Setting:
    """The setting with the highest value; of equal ones the first.

    Raises:
        DeixisError: training failed with all of them.
    """
    done = [(setting, value) for setting, value in tried if value is not None]
    if not done:
        raise DeixisError(
            f"Training failed with all {len(tried)} settings that were tried.", "Give the arm a grid of milder values."
        )
    return max(done, key=lambda pair: pair[1])[0]


def at_edge(tried: Tried) -> list[str]:
    """The fields of which the best value is the lowest or highest that was tried; of tuples of numbers, by their sum,
    the smallest or largest."""
    chosen = best(tried)
    edges = ends([setting for setting, _ in tried])
    return [name for name, values in edges.items() if chosen[name] in values]


def ends(settings: Sequence[Setting]) -> dict[str, tuple[Any, Any]]:
    """Field -> the lowest and the highest value that was tried, for fields that hold different numbers or tuples of
    numbers.

    Args:
        settings: that were tried, all of the same fields.
    """
    found = {}
    for name in settings[0] if settings else ():
        values = [setting[name] for setting in settings]
        tuples = [each if isinstance(each, tuple | list) else (each,) for each in values]
        if any(not _number(each) for one in tuples for each in one):
            continue
        ordered = sorted(values, key=lambda each: sum(each) if isinstance(each, tuple | list) else each)
        if ordered[0] != ordered[-1]:
            found[name] = (ordered[0], ordered[-1])
    return found


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def next_trials(tried: Mapping[str, Tried]) -> dict[str, list[Setting]]:
    """Further settings where the best of an arm lies at an edge, equally many for every arm; else none.

    An arm at an edge goes on beyond it; one that is not searches between its best and the neighbours instead. Where an
    arm has no further settings (words, tuples), none tries more than it can: what is still at an edge is then reported.

    Args:
        tried: arm -> what it tried so far.
    """
    count = max((len(_widened(each)) for each in tried.values()), default=0)
    further = {arm: list(itertools.islice(_candidates(each), count)) for arm, each in tried.items()}
    equal = min(map(len, further.values()), default=0)
    return {arm: each[:equal] for arm, each in further.items()}


def _widened(tried: Tried) -> list[str]:
    """The fields that hold numbers and whose best value is at an edge."""
    return [name for name in at_edge(tried) if _axis(tried, name)]


def _candidates(tried: Tried) -> Iterator[Setting]:
    """New settings: beyond the edges the best lies at, then ever nearer to the best along each field."""
    chosen, known = best(tried), [setting for setting, _ in tried]
    for name in _widened(tried):
        further = {**chosen, name: _beyond(_axis(tried, name), chosen[name])}
        if further not in known:
            known.append(further)
            yield further
    numeric = [name for name in chosen if len(_axis(tried, name)) > 1]
    for share in (1 / 2, 1 / 4, 3 / 4):
        for name in numeric:
            for value in _between(_axis(tried, name), chosen[name], share):
                if {**chosen, name: value} not in known:
                    known.append({**chosen, name: value})
                    yield known[-1]


def _axis(tried: Tried, name: str) -> list[Any]:
    """The different numbers that were tried for a field, ascending; none where it does not hold numbers."""
    values = [setting[name] for setting, _ in tried]
    if not all(map(_number, values)):
        return []
    return sorted(set(values))


def _beyond(axis: Sequence[float | int], value: float | int) -> float | int:
    """One step further, in the ratio of the last two values; in their difference where one of them is not above 0."""
    last, before = (axis[0], axis[1]) if value == axis[0] else (axis[-1], axis[-2])
    return _like(last * last / before if min(last, before) > 0 else last + (last - before), axis)


def _between(axis: Sequence[float | int], value: float | int, share: float) -> list[float | int]:
    """Values at that share of the way from `value` to both neighbours, in ratios where all are above 0."""
    place = axis.index(value)
    neighbours = [axis[i] for i in (place - 1, place + 1) if 0 <= i < len(axis)]
    return [
        _like(value * (other / value) ** share if min(value, other) > 0 else value + share * (other - value), axis)
        for other in neighbours
    ]


def _like(value: float, axis: Sequence[float | int]) -> float | int:
    """A whole number where all are, and above 0 where all are; else with the digits that a person would write."""
    if not all(isinstance(each, int) for each in axis):
        return float(f"{value:.4g}")
    return max(1, round(value)) if axis[0] > 0 else round(value)
