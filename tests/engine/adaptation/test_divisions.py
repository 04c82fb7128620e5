"""Divisions: those of different runs share nothing, and each trains once for all settings."""

from __future__ import annotations

import numpy as np

from deixis.engine.adaptation.divisions import divide, division_seed, hold_out
from deixis.engine.adaptation.evaluate import measure_retrieval, set_strength
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from tests.planted import planted

GROUPS = tuple(i // 2 for i in range(120))


def test_runs_of_different_seeds_share_no_division() -> None:
    """Seeds of seed + index would share all but one with the next seed."""
    drawn = [{split.test for split in divide(GROUPS, seed, 20)} for seed in range(10)]
    assert len(set.union(*drawn)) == 200
    assert len({division_seed(seed, index) for seed in range(100) for index in range(20)}) == 2000


def test_a_run_is_divided_the_same_again_and_more_divisions_begin_with_the_fewer() -> None:
    assert divide(GROUPS, 3, 20)[:5] == divide(GROUPS, 3, 5)


def test_no_group_is_on_both_sides() -> None:
    for each in divide(GROUPS, 0, 20):
        assert {GROUPS[i] for i in each.train}.isdisjoint(GROUPS[i] for i in each.test)
        assert sorted(each.train + each.test) == list(range(120))


def test_every_setting_is_measured_on_the_held_out_samples() -> None:
    world = planted(gain=1.0, concepts=20)
    experiment = world.experiment(divide(world.groups, 0, 2))
    grid = Grid(steps=(1,), strengths=(0.25, 0.75))
    for each, split in zip(hold_out(experiment, AdaptationRecipe("ridge"), grid), experiment.splits, strict=True):
        assert each.queries == split.test
        table = world.table.take(split.test)
        assert np.array_equal(each.before["mean_mrr"], measure_retrieval(table, (None, None))["mean_mrr"])
        for place, strength in enumerate(grid.strengths):
            expected = measure_retrieval(table, set_strength(each.fitted[1], strength))["mean_mrr"]
            assert np.array_equal(each.after["mean_mrr"][0, place], expected)
