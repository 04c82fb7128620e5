from __future__ import annotations

import math

import numpy as np
import pytest

from deixis.engine.claims.curves import Effect, area, crossover, effect, images_to, ratio
from deixis.errors import DeixisError

SLOW = ((0.0, 0.0), (50.0, 0.2), (100.0, 0.5))
FAST = ((0.0, 0.0), (50.0, 0.5), (100.0, 0.6))


def test_final_and_area_by_hand() -> None:
    assert effect("final", FAST, SLOW).value == pytest.approx(0.1)
    assert area(SLOW) == pytest.approx((50 * 0.1 + 50 * 0.35) / 100)
    assert effect("area", FAST, SLOW).value == pytest.approx(0.4 - 0.225)


def test_the_ratio_is_of_images_to_the_highest_level_that_both_reach() -> None:
    assert ratio(FAST, SLOW).value == pytest.approx(math.log(100 / 50))
    assert images_to(SLOW, 0.35) == pytest.approx(75)
    assert images_to(SLOW, 0.9) is None


def test_an_arm_that_never_learned_needs_the_whole_budget() -> None:
    flat = ((0.0, 0.3), (50.0, 0.1), (100.0, 0.2))
    assert ratio(FAST, flat).value > 0
    assert ratio(flat, flat).value == 0


def test_the_crossover_is_the_share_behind_the_point_where_the_winner_gets_ahead() -> None:
    late = ((0.0, 0.0), (50.0, 0.1), (100.0, 0.6))
    assert crossover(late, SLOW) == Effect(pytest.approx(0.25), "overtaken at 75 images")
    assert crossover(SLOW, late).value == pytest.approx(-0.25)
    assert crossover(SLOW, SLOW).value == 0


@pytest.mark.parametrize("statistic", ["final", "area", "crossover", "ratio"])
def test_arms_that_change_places_change_the_sign(statistic: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        ours, theirs = (tuple(zip(map(float, range(6)), rng.random(6).tolist(), strict=True)) for _ in range(2))
        there, back = (effect(statistic, *pair).value for pair in ((ours, theirs), (theirs, ours)))  # type: ignore[arg-type]
        assert there == pytest.approx(-back)


def test_curves_of_unequal_images_or_with_numbers_that_are_none_are_refused() -> None:
    with pytest.raises(DeixisError, match="One arm saw 100 images and the other 50"):
        effect("final", FAST, SLOW[:2])
    with pytest.raises(DeixisError, match="no curve"):
        effect("final", FAST, ((0.0, 0.0), (100.0, math.nan)))
