"""The verdict: a planted gain is found whatever the seed, a planted null is not, and what is near is called so."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from deixis.engine.adaptation.adapt import AdaptationArm, AdaptationPlan, SplitResult, run
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.adaptation.leaks import likely_leaks, linked_groups
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from deixis.engine.adaptation.verdict import has_effect, judge, lost_outside
from deixis.ops.stats import Interval
from tests.planted import planted

RIDGE = AdaptationPlan(AdaptationRecipe("ridge", {"penalty": 0.05}), Grid(steps=(1,)))
METRIC = "text_to_image_r1"


@functools.cache
def adapted(gain: float, seed: int, world: int = 0, shuffled: bool = False, divisions: int = 8) -> AdaptationArm:
    made = planted(gain=gain, concepts=40, seed=world)
    experiment = made.experiment(divide(made.groups, seed, divisions), seed)
    return run(experiment, dataclasses.replace(RIDGE, shuffled=shuffled))


def test_a_planted_gain_is_adapted_whatever_the_seed() -> None:
    assert {judge(adapted(1.0, seed), METRIC).outcome for seed in (0, 100, 200)} == {"adapted"}


def test_a_planted_null_keeps_the_original_whatever_the_seed() -> None:
    assert {judge(adapted(1.0, seed, shuffled=True), METRIC).outcome for seed in (0, 100, 200)} == {"original"}


@pytest.mark.slow
def test_where_seeds_disagree_one_of_them_says_borderline() -> None:
    """On the same pictures the verdict of a seed that is not borderline is the verdict of nearly all."""
    for gain in (0.3, 0.5):
        verdicts = [judge(adapted(gain, seed, divisions=20), METRIC) for seed in range(8)]
        outcomes = [each.outcome for each in verdicts]
        common = max(set(outcomes), key=outcomes.count)
        agree = [each.borderline or each.outcome == common for each in verdicts]
        assert np.mean(agree) >= 7 / 8, (gain, outcomes)


@pytest.mark.slow
def test_captions_dealt_out_at_random_are_seldom_taken_for_a_gain() -> None:
    kept = [judge(adapted(0.7, 0, world, shuffled=True), METRIC).outcome != "original" for world in range(40)]
    assert np.mean(kept) <= 1 / 20


def arm_of(evidence: float, gain: float, spread: float = 0.1, drift: float = 0.0) -> AdaptationArm:
    """An arm with known means: every concept is held out in all of six divisions, which differ by `drift`."""
    noise = spread * np.resize([1.0, -1.0], 40)
    results = []
    for index in range(6):
        shift = drift * (index - 2.5)
        after = {TEST_STATISTIC: evidence + noise + shift, "x": gain + noise + shift}
        before = {name: np.zeros(40) for name in after}
        results.append(SplitResult(index, tuple(range(40)), before, after, (None, None), None))
    # Half as many again train as are held out.
    return AdaptationArm(tuple(results), tuple(range(100)))


def test_there_are_three_outcomes() -> None:
    assert judge(arm_of(0.2, 0.2), "x").outcome == "adapted"
    assert judge(arm_of(0.2, 0.01), "x").outcome == "probable"
    assert judge(arm_of(0.01, 0.2), "x").outcome == "original"
    assert judge(arm_of(-0.2, 0.2), "x").outcome == "original"


def test_a_verdict_that_other_divisions_may_overturn_is_borderline() -> None:
    sure, shaky = judge(arm_of(0.06, 0.3), "x"), judge(arm_of(0.06, 0.3, drift=0.05), "x")
    assert sure.outcome == shaky.outcome == "adapted"
    assert (sure.borderline, shaky.borderline) == (False, True)
    assert not judge(arm_of(0.5, 0.5, drift=0.05), "x").borderline


def test_without_evidence_the_interval_in_searches_decides_nothing() -> None:
    near = judge(arm_of(-0.5, 0.045, drift=0.02), "x")
    assert abs(near.gain.low) < 2 * near.error[1]
    assert not near.borderline


def test_a_loss_outside_is_one_that_cannot_be_ruled_out() -> None:
    losses = {"harmless": Interval(0.0, -0.004, 0.01), "worse": Interval(-0.02, -0.03, -0.01)}
    losses["unclear"] = Interval(0.01, -0.02, 0.04)
    assert lost_outside({name: {"x": value} for name, value in losses.items()}, ["x"]) == ["worse", "unclear"]


def test_a_recipe_that_changes_no_rank_has_no_effect() -> None:
    assert has_effect(adapted(1.0, 0))
    assert not has_effect(adapted(1.0, 0).retained())


def test_near_duplicates_of_different_groups_are_named_as_the_likeliest_leak() -> None:
    world = planted(concepts=40)
    alone = tuple(range(80))  # as if the two pictures of each concept were two concepts
    leaks = likely_leaks(world.table, alone, shown=2)
    assert "captions of different groups say nearly the same" in {leak.cause for leak in leaks}
    assert leaks[0].share == 1.0
    assert len(leaks[0].pairs) == 2
    assert likely_leaks(world.table, world.groups) == []
    assert "only 20 groups" in likely_leaks(planted(concepts=20).table, planted(concepts=20).groups)[-1].cause


def test_a_leak_between_groups_fails_the_control_and_is_named() -> None:
    """Copies of one picture under several groups: what was trained on is tested, whatever the captions are."""
    world = planted(gain=0.0, concepts=12, known=0.1)
    rows = [i for i in range(24) for _ in range(3)]
    table = dataclasses.replace(world.table.take(rows), ids=tuple(map(str, range(72))))
    groups = tuple(range(72))
    experiment = dataclasses.replace(world.experiment(divide(groups, 0, 8)), table=table, groups=groups)
    assert judge(run(experiment, dataclasses.replace(RIDGE, shuffled=True)), METRIC).outcome != "original"
    assert likely_leaks(table, groups)[0].share == 1.0
    assert len(set(linked_groups(table, groups))) == 12, "the groups that should have been"
