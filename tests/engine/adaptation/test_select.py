"""The choice of steps and strength: cautious, and from values of other divisions alone."""

from __future__ import annotations

import numpy as np
import pytest

from deixis.engine.adaptation.divisions import HeldOut
from deixis.engine.adaptation.recipes import Grid
from deixis.engine.adaptation.select import Choice, Pool, choose
from deixis.errors import DeixisError

GRID = Grid(steps=(10, 20), strengths=(0.25, 0.5, 0.75))
GROUPS = tuple(i // 2 for i in range(40))


def tables(gain: dict[float, float], noise: float = 0.01, count: int = 4, seed: int = 0) -> list[HeldOut]:
    """Divisions in which every strength has a planted gain, and later steps a little more of it."""
    rng = np.random.default_rng(seed)
    found = []
    for index in range(count):
        held = np.flatnonzero(np.repeat(rng.permutation(20) < 8, 2))
        before = rng.random(len(held)) * noise + 0.5
        gains = np.array([[gain.get(strength, 0.0) + 0.001 * step for strength in GRID.strengths] for step in (0, 1)])
        after = before + gains[..., None] + noise * rng.standard_normal((2, 3, len(held)))
        found.append(HeldOut(index, tuple(held.tolist()), {"x": before}, {"x": after}, {}))
    return found


def chosen(gain: dict[float, float], noise: float = 0.01) -> Choice:
    return choose(Pool.of(tables(gain, noise), "x", GROUPS), GRID)


def test_the_best_strength_is_taken_where_it_is_clearly_the_best() -> None:
    assert chosen({0.25: 0.05, 0.5: 0.2, 0.75: 0.1}).strength == 0.5


def test_of_strengths_that_do_equally_well_the_weakest_is_taken() -> None:
    """What stays nearer to the original loses less elsewhere."""
    assert chosen({0.25: 0.2, 0.5: 0.2, 0.75: 0.2}, noise=0.1).strength == 0.25


def test_a_choice_says_what_it_rests_on() -> None:
    choice = chosen({0.25: 0.05, 0.5: 0.2, 0.75: 0.1})
    assert np.array(choice.curve).shape == (2, 3)
    place = GRID.steps.index(choice.steps), GRID.strengths.index(choice.strength)
    assert choice.after == pytest.approx(choice.curve[place[0]][place[1]])
    assert choice.after - choice.before == pytest.approx(0.2, abs=0.02)


def test_the_choice_of_a_division_never_sees_its_held_out_samples() -> None:
    """Whatever stands in the held-out part of a division, in its own table or in those of others, its choice stays."""
    divisions = tables({0.25: 0.05, 0.5: 0.2, 0.75: 0.1})
    pool = Pool.of(divisions, "x", GROUPS)
    for index, division in enumerate(divisions):
        spoiled = Pool(pool.before.copy(), pool.after.copy(), pool.groups)
        held = list(division.queries)
        spoiled.before[:, held] *= np.random.default_rng(1).random(len(held))
        spoiled.after[..., held] *= np.random.default_rng(2).random((4, 2, 3, len(held)))
        assert choose(spoiled.without(index), GRID) == choose(pool.without(index), GRID)
    assert choose(spoiled, GRID) != choose(pool, GRID), "the final choice sees all"


def test_divisions_that_leave_nothing_to_choose_from_are_refused() -> None:
    one = tables({})[0]
    pool = Pool.of([one, one], "x", GROUPS)
    with pytest.raises(DeixisError, match=r"2 divisions leave 0 groups to choose the settings from.*more --splits"):
        choose(pool.without(0), GRID)
