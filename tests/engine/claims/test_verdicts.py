"""Verdicts on simulated claims: no training, only numbers whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtrit

from deixis.engine.claims.verdicts import detectable, judge, overall, seeds_to_settle, verdict
from deixis.ops.stats import Interval, chance_of_gain

CLAIMS = 2000


def share_shown(effect: float, spread: float, seeds: int, minimum: float) -> float:
    """Of simulated claims with that true effect, the share with the verdict *shown*."""
    draws = np.random.default_rng(7).normal(effect, spread, size=(CLAIMS, seeds))
    return sum(judge({"rival": list(each)}, minimum)["rival"].verdict == "shown" for each in draws) / CLAIMS


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what is only told, and takes long to compute thousands of times."""
    monkeypatch.setattr("deixis.engine.claims.verdicts.detectable", lambda *_: 0.0)
    monkeypatch.setattr("deixis.engine.claims.verdicts.seeds_to_settle", lambda *_: None)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("seeds", "minimum"),
    [pytest.param(5, 1e-9, marks=pytest.mark.slow), (5, 0.02), pytest.param(12, 1e-9, marks=pytest.mark.slow)],
)
def test_a_true_null_effect_is_shown_in_under_a_twentieth_of_claims(seeds: int, minimum: float) -> None:
    assert share_shown(0.0, 0.05, seeds, minimum) < 0.05


@pytest.mark.usefixtures("quick")
def test_a_null_effect_would_be_shown_too_often_if_the_interval_were_narrower() -> None:
    # What the test above would find if the engine took 1.0 standard errors in place of Student's t.
    draws = np.random.default_rng(7).normal(0, 0.05, size=(CLAIMS, 5))
    assert np.mean(draws.mean(1) > draws.std(1, ddof=1) / math.sqrt(5)) > 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("effect", "spread", "seeds", "minimum"), [(0.06, 0.05, 5, 0.02), (0.03, 0.05, 20, 0.02), (0.05, 0.02, 5, 0.05)]
)
def test_a_known_effect_is_found_as_often_as_the_stated_power_says(
    effect: float, spread: float, seeds: int, minimum: float
) -> None:
    power = chance_of_gain(effect, spread, seeds, minimum)
    error = math.sqrt(power * (1 - power) / CLAIMS)
    assert 0.05 < power < 0.95
    assert share_shown(effect, spread, seeds, minimum) == pytest.approx(power, abs=4 * error)


@pytest.mark.slow
@pytest.mark.usefixtures("quick")
def test_the_effect_that_is_said_to_be_visible_is_seen_eight_times_of_ten() -> None:
    effect = detectable(0.05, 6, 0.02)
    assert share_shown(effect, 0.05, 6, 0.02) == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / CLAIMS))


def test_so_many_seeds_settle_a_claim_eight_times_of_ten() -> None:
    difference, spread, minimum = 0.01, 0.05, 0.03
    seeds = seeds_to_settle(difference, spread, minimum, 5)
    assert seeds is not None
    assert seeds > 5
    draws = np.random.default_rng(3).normal(difference, spread, size=(CLAIMS, seeds))
    half = stdtrit(seeds - 1, 0.975) * draws.std(1, ddof=1) / math.sqrt(seeds)
    means = draws.mean(1)
    settled = [verdict(Interval(m, m - h, m + h), minimum) != "inconclusive" for m, h in zip(means, half, strict=True)]
    assert np.mean(settled) == pytest.approx(0.8, abs=4 * math.sqrt(0.16 / CLAIMS))
    assert seeds_to_settle(difference, spread, minimum, seeds) == seeds + 1


def test_a_difference_that_is_just_the_smallest_worth_having_is_never_settled() -> None:
    assert seeds_to_settle(0.03, 0.05, 0.03, 5) is None


@pytest.mark.parametrize(
    ("interval", "wanted"),
    [
        (Interval(0.05, 0.01, 0.09), "shown"),
        (Interval(0.03, 0.01, 0.05), "shown"),  # the estimate reaches the smallest effect, though the interval may not
        (Interval(0.02, 0.01, 0.029), "not shown"),  # surely there, and surely not worth having
        (Interval(0.0, -0.02, 0.02), "not shown"),
        (Interval(-0.05, -0.09, -0.01), "reversed"),
        (Interval(0.05, -0.01, 0.11), "inconclusive"),
        (Interval(0.02, 0.005, 0.035), "inconclusive"),  # surely there, perhaps worth having
        (Interval(0.05, 0.0, 0.1), "inconclusive"),  # 0 is not outside
    ],
)
def test_the_four_verdicts_for_a_smallest_effect_of_3_points(interval: Interval, wanted: str) -> None:
    assert verdict(interval, 0.03) == wanted


def test_a_finding_by_hand() -> None:
    # Mean 4, variance 2.5, five seeds: t = 4 / sqrt(0.5) = 5.657, two-sided p 0.0048 with 4 degrees of freedom.
    found = judge({"rival": [2.0, 3.0, 4.0, 5.0, 6.0]}, 1.0)["rival"]
    half = 2.776445 * math.sqrt(0.5)
    assert found.interval == pytest.approx((4, 4 - half, 4 + half), abs=1e-5)
    assert found.p == pytest.approx(0.0048, abs=5e-5)
    assert (found.verdict, found.seeds, found.seeds_wanted) == ("shown", 5, None)


def test_p_values_are_corrected_for_the_number_of_baselines() -> None:
    strong, weak = [2.0, 3.0, 4.0, 5.0, 6.0], [-1.0, 0.5, 2.0, 1.0, 3.0]
    found = judge({"weak": weak, "strong": strong}, 1.0)
    alone = {name: judge({name: values}, 1.0)[name] for name, values in (("weak", weak), ("strong", strong))}
    assert found["strong"].adjusted == pytest.approx(2 * alone["strong"].p)
    assert found["weak"].adjusted == pytest.approx(alone["weak"].p)
    assert found["weak"].interval == alone["weak"].interval


def test_an_interval_above_0_is_not_enough_where_p_after_holm_s_correction_is_not_below_5_percent() -> None:
    barely = [0.010, 0.035, 0.045, 0.060, 0.050]
    alone = judge({"rival": barely}, 0.01)["rival"]
    assert (alone.verdict, alone.interval.low > 0) == ("shown", True)
    least = [-0.03, 0.12, 0.01, 0.05, 0.02]
    among = judge(
        {
            name: [each / 3 if name == "rival" else x for each, x in zip(barely, least, strict=True)]
            for name in "rival other third fourth fifth sixth seventh".split()
        },
        0.01,
    )["rival"]
    assert among.interval.low > 0
    assert among.adjusted > 0.05
    assert among.verdict == "inconclusive"


def test_a_ratio_is_judged_by_logarithms_and_told_as_a_ratio() -> None:
    found = judge({"rival": [math.log(2)] * 4 + [math.log(2.2)]}, 1.5, ratio=True)["rival"]
    assert found.verdict == "shown"
    assert found.interval.value == pytest.approx(2 * 1.1**0.2)
    assert "times" in found.sentence()
    slower = judge({"rival": [math.log(1 / 2)] * 4 + [math.log(1 / 2.2)]}, 1.5, ratio=True)["rival"]
    assert slower.verdict == "reversed"


def test_an_inconclusive_finding_says_what_it_could_have_seen() -> None:
    found = judge({"rival": [0.01, 0.03, -0.01, 0.05, 0.02]}, 0.03)["rival"]
    assert found.verdict == "inconclusive"
    assert found.visible > 0.03
    assert f"about {found.seeds_wanted} seeds would settle it" in found.sentence()
    near = judge({"rival": [0.01, 0.05, -0.01, 0.07, 0.03]}, 0.03)["rival"]
    assert "no number of seeds would settle it" in near.sentence()


def test_seeds_that_all_agree_have_an_interval_of_no_width() -> None:
    assert judge({"rival": [0.0] * 5}, 0.01)["rival"].verdict == "not shown"
    assert judge({"rival": [0.02] * 5}, 0.01)["rival"].verdict == "shown"


def test_what_can_not_be_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        judge({"rival": [1.0]}, 0.1)
    with pytest.raises(ValueError, match="not finite"):
        judge({"rival": [1.0, math.nan]}, 0.1)
    with pytest.raises(ValueError, match="must be above 0"):
        judge({"rival": [1.0, 2.0]}, 0.0)
    with pytest.raises(ValueError, match="must be above 1"):
        judge({"rival": [1.0, 2.0]}, 1.0, ratio=True)


def test_a_claim_holds_when_it_holds_against_all_baselines() -> None:
    assert overall(["shown", "shown"]) == "shown"
    assert overall(["shown", "inconclusive"]) == "inconclusive"
    assert overall(["not shown", "inconclusive"]) == "not shown"
    assert overall(["shown", "reversed", "not shown"]) == "reversed"
