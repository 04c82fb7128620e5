"""Planted claims: rivals that did not learn, fixed test parts, settings that were chosen unequally."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from deixis.engine.claims import claims
from deixis.engine.claims.design import Design
from deixis.engine.claims.outcomes import TrialResult, judge_outcomes, over_samples, why_dead
from deixis.engine.claims.rows import claim_rows, trial_rows, verdict_rows
from deixis.engine.claims.tuning import next_trials
from deixis.errors import DeixisError
from deixis.types import Arm
from tests import toy_claims


def arm(*ends: float, start: float = 0.1, **facts: float) -> list[TrialResult]:
    """One result a seed."""
    return [TrialResult(((0.0, start), (100.0, end)), 10.0, **facts) for end in ends]  # type: ignore[arg-type]


GOOD = arm(0.60, 0.62, 0.61, 0.63, 0.59)


# --- rivals that did not learn ----------------------------------------------------------------------------------------


def test_a_planted_rival_that_ends_below_where_it_began_voids_the_verdict() -> None:
    dead, alive = arm(0.05, 0.06, 0.04, 0.05, 0.05), arm(0.50, 0.51, 0.52, 0.50, 0.49)
    found = judge_outcomes({"ours": GOOD, "dead": dead, "alive": alive}, "final", 0.02)
    assert {name: each.verdict for name, each in found.items()} == {"dead": "void", "alive": "shown"}
    assert "the rival did not learn: it ends at 0.05, below the 0.1" in found["dead"].sentence()
    assert not found["alive"].notes


def test_a_planted_rival_within_chance_voids_the_verdict_even_where_one_seed_alone_is() -> None:
    lucky = arm(0.58, 0.59, 0.60, 0.58, 0.54, start=0.5, chance=0.5, queries=400)
    assert "within chance (0.54, where guessing gives 0.5)" in why_dead(lucky)
    assert not why_dead([dataclasses.replace(each, queries=40_000) for each in lucky]), "0.54 of many is no luck"
    [found] = judge_outcomes({"ours": arm(0.8, 0.82, 0.81, 0.8, 0.8), "lucky": lucky}, "final", 0.02).values()
    assert found.verdict == "void"


def test_where_nobody_learned_that_is_said_and_where_only_the_paper_did_not_the_verdict_stays() -> None:
    dead, alive = arm(0.05, 0.06, 0.04, 0.05, 0.05), arm(0.50, 0.51, 0.52, 0.50, 0.49)
    found = judge_outcomes({"ours": dead, "same": dead, "alive": alive}, "final", 0.02)
    assert {name: each.verdict for name, each in found.items()} == {"same": "void", "alive": "reversed"}
    assert "nobody learned it" in found["same"].notes[-1]
    assert "ours did not learn" in found["alive"].notes[-1]


def test_a_claim_says_which_arm_is_the_cheap_rival_or_is_refused() -> None:
    for name in ("", "clean", "nobody"):
        with pytest.raises(DeixisError, match="which arm is the obvious cheap rival") as caught:
            Design("line", toy_claims.claim(cheap=name), lab=toy_claims.LAB)
    assert "one of: noisy" in str(caught.value)


# --- intervals --------------------------------------------------------------------------------------------------------


def sampled(rng: np.random.Generator, gain: float, part: str = "same") -> list[TrialResult]:
    """Five seeds that answer fifty queries alike, right with a chance of 0.5 and a gain."""
    values = tuple((rng.random(50) < 0.5 + gain).astype(float))
    return [
        TrialResult(((4.0, 0.0), (16.0, float(np.mean(values)))), 1.0, values=values, queries=50, part=part)
        for _ in range(5)
    ]


def test_seeds_that_all_agree_on_a_fixed_part_show_nothing_that_its_few_samples_do_not() -> None:
    rng = np.random.default_rng(2)
    ours, theirs = sampled(rng, 0.1), sampled(rng, 0.0)
    [found] = judge_outcomes({"ours": ours, "theirs": theirs}, "final", 0.02).values()
    assert found.interval.low == found.interval.high > 0.02
    assert found.samples is not None
    assert found.samples.low < 0 < found.samples.high
    assert found.verdict == "inconclusive"
    assert "no width" in found.notes[0]
    assert "theirs is the same with every seed" in found.notes[-1]


def test_arms_that_were_measured_on_different_samples_are_not_compared() -> None:
    ours, theirs = (arm(0.6, 0.62, 0.61, part=part) for part in ("before", "after"))  # type: ignore[arg-type]
    with pytest.raises(DeixisError, match="ours and theirs were measured on different samples: before, after"):
        judge_outcomes({"ours": ours, "theirs": theirs}, "final", 0.02)


def test_resampled_queries_have_the_width_that_the_central_limit_says() -> None:
    rng = np.random.default_rng(0)
    gaps = rng.normal(0.1, 1.0, 400)
    zero = TrialResult(((0.0, 0.0), (1.0, 0.0)), 1.0, values=(0.0,) * 400, queries=400, part="p")
    ours = [dataclasses.replace(zero, values=tuple(gaps))] * 5
    found = over_samples(ours, [zero] * 5)
    assert found is not None
    assert found.value == pytest.approx(gaps.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * gaps.std() / 20, rel=0.1)
    each = [dataclasses.replace(one, part=str(seed)) for seed, one in enumerate(ours)]
    nothing = [dataclasses.replace(zero, part=str(seed)) for seed in range(5)]
    apart = over_samples(each, nothing)
    assert apart is not None
    assert apart.high - apart.low < 0.7 * (found.high - found.low), "five parts say more than one"
    assert over_samples(each, [zero] * 5) is None, "other samples cannot be paired"


# --- choices ----------------------------------------------------------------------------------------------------------


def test_arms_try_equally_many_settings_even_where_one_of_them_has_no_further_ones() -> None:
    numbers = [({"rate": rate}, rate) for rate in (0.1, 0.2, 0.4)]
    words = [({"words": word}, float(value)) for value, word in enumerate(("a", "b", "c"))]
    tuples = [({"sizes": sizes}, float(-sum(sizes))) for sizes in ((3, 2), (2, 1), (1, 1))]
    assert next_trials({"numbers": numbers, "words": words}) == {"numbers": [], "words": []}
    assert next_trials({"numbers": numbers, "tuples": tuples}) == {"numbers": [], "tuples": []}


def test_a_planted_grid_whose_best_is_a_tuple_at_its_end_is_reported_and_stands_in_the_rows() -> None:
    """And each setting that was tried is a row, with its value and the ends of its grid."""
    grid = {"sizes": ((3, 2), (1, 1), (2, 1))}
    arms = {"clean": Arm("line", grid=grid), "noisy": Arm("line", {}, {"noise": 4.0}, grid)}
    one = Design("line", toy_claims.claim("final", arms=arms), lab=toy_claims.LAB)

    def run(units: object) -> list[TrialResult]:
        ends = [-sum(unit.settings["sizes"]) for unit in units]  # type: ignore[attr-defined]
        return [TrialResult(((0.0, -9.0), (160.0, float(end))), 2.0) for end in ends]

    tuned = claims.tune(one, run)
    assert tuned["clean"].edges == ("sizes",)
    rows = trial_rows(one, tuned)
    assert [(row["arm"], row["setting"]["sizes"], row["value"], row["best"]) for row in rows[:3]] == [
        ("clean", (3, 2), -5.0, False),
        ("clean", (1, 1), -2.0, True),
        ("clean", (2, 1), -3.0, False),
    ]
    assert rows[0]["edges"] == {"sizes": [(1, 1), (3, 2)]}
    outcomes = {name: run([one.unit(name, {"sizes": (1, 1)}, 0, "test")] * 5) for name in arms}
    assert claim_rows(one, tuned, outcomes)[0]["config"]["edges"] == ["sizes"]
    assert claim_rows(one, tuned, outcomes)[0]["config"]["before"] == -9.0


def test_a_planted_lucky_layer_is_shown_where_it_is_chosen_on_another_network_and_not_where_on_each_one_s_own() -> None:
    """Each network has a best layer of its own, which is as good as all layers are together."""
    layers = {"layers": (("a",), ("b",), ("c",))}
    arms = {
        "all": Arm("line", grid={"layers": (("a", "b"), ("b", "c"), ("a", "c"))}),
        "single": Arm("line", grid=layers),
    }

    def run(units: object) -> list[TrialResult]:
        found = []
        for unit in units:  # type: ignore[attr-defined]
            lucky = unit.settings["layers"] == (("a", "b", "c")[unit.seed % 3],)
            end = 0.8 if unit.arm == "all" or lucky else 0.4
            found.append(TrialResult(((0.0, 0.1), (160.0, end + 0.001 * (unit.seed % 5))), 1.0))
        return found

    said = {}
    for choose in ("once", "each seed"):
        one = Design("line", toy_claims.claim("final", arms=arms, choose=choose), lab=toy_claims.LAB)
        tuned = claims.tune(one, run)
        [found] = claims.compare_arms(one, claims.report(one, tuned, run)).values()
        said[choose] = found.interval.value
        rows = trial_rows(one, tuned)
        assert sum(row["best"] for row in rows) == (2 if choose == "once" else 2 * one.seeds)
        assert len({row["seed"] for row in rows}) == (1 if choose == "once" else one.seeds)
    assert said["once"] > 0.2
    assert said["each seed"] == 0


def test_a_claim_that_chose_on_one_network_says_so_beside_its_verdict() -> None:
    arms = {"ours": Arm("normgrad", grid={"layers": (("blocks.0",), ("blocks.1",))}), "other": Arm("normgrad")}
    claim = toy_claims.claim("final", data="explained", options={}, metric="overlap", arms=arms)
    lucky, own = (Design("normgrad", dataclasses.replace(claim, choose=choose)) for choose in ("once", "each seed"))  # type: ignore[arg-type]
    assert "settings were chosen on one network" in lucky.luck
    assert not own.luck
    [found] = claims.compare_arms(lucky, {"ours": GOOD, "other": arm(0.5, 0.51, 0.52, 0.5, 0.49)}).values()
    assert lucky.luck in found.sentence()


def test_planted_arms_with_unequal_trials_get_no_row() -> None:
    one = Design("line", toy_claims.claim("final"), lab=toy_claims.LAB)
    more = tuple(({"learning_rate": rate}, rate) for rate in (0.1, 0.2))
    tuned = {
        name: claims.TunedArm({"learning_rate": 0.1}, more[:count]) for name, count in (("clean", 2), ("noisy", 1))
    }
    with pytest.raises(DeixisError, match="unequal numbers of settings: clean 2, noisy 1"):
        claim_rows(one, tuned, {"clean": GOOD, "noisy": GOOD})


def test_a_verdict_row_holds_its_adjusted_p_the_seeds_wanted_and_equal_seconds() -> None:
    one = Design("line", toy_claims.claim("final", minimum_effect=0.05), lab=toy_claims.LAB)
    slow = [dataclasses.replace(each, seconds=20.0) for each in arm(0.58, 0.6, 0.59, 0.57, 0.6)]
    [row] = verdict_rows(one, claims.compare_arms(one, {"clean": slow, "noisy": arm(0.56, 0.57, 0.55, 0.58, 0.54)}))
    assert row["verdict"] == "inconclusive"
    assert 0 < row["adjusted_p"] < 0.1
    assert row["seeds_wanted"] > 5
    assert row["equal_seconds"] == pytest.approx(0.5 * (0.588 + 0.1) - 0.56)
