"""The choice of steps and strength: noise is left alone, a true gain is taken, and only training concepts are asked."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from deixis.engine.adaptation.adapt import shuffled_captions
from deixis.engine.adaptation.evaluate import Adapters, measure_retrieval
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from deixis.engine.adaptation.select import Choice, choose, fit
from deixis.engine.features.store import FeatureTable
from tests.planted import World, planted, tiny

RESIDUAL = AdaptationRecipe("residual", {"learning_rate": 3e-2})
RIDGE = AdaptationRecipe("ridge", {"penalty": 0.05})
ONCE = Grid(steps=(1,))
SMALL = Grid(steps=(2, 4), repeats=1)


def chosen(
    world: World, recipe: AdaptationRecipe = RIDGE, grid: Grid = ONCE, seed: int = 0, shuffled: bool = False
) -> Choice:
    order = shuffled_captions(world.groups, seed) if shuffled else range(len(world.groups))
    table = world.table.with_text_of(list(order))
    return choose(recipe, grid, world.experiment([]), table, world.groups, seed)


def wrongly_kept(recipe: AdaptationRecipe, grid: Grid, seeds: range) -> float:
    """The share of worlds with captions dealt out at random in which something is kept all the same."""
    choices = [chosen(planted(gain=0.7, concepts=30, seed=s), recipe, grid, s, shuffled=True) for s in seeds]
    return float(np.mean([choice.strength > 0 for choice in choices]))


@pytest.mark.slow
def test_captions_dealt_out_at_random_teach_nothing() -> None:
    """At most two of 60 worlds may look like a gain; some one in a hundred does."""
    assert wrongly_kept(RIDGE, ONCE, range(60)) <= 2 / 60


@pytest.mark.slow
def test_captions_dealt_out_at_random_teach_nothing_however_many_settings_are_tried() -> None:
    assert wrongly_kept(RESIDUAL, SMALL, range(40)) <= 1 / 40


@pytest.mark.slow
@pytest.mark.parametrize(
    ("recipe", "grid", "worlds", "share"), [(RIDGE, ONCE, 400, 0.025), (RESIDUAL, Grid(), 60, 0.05)]
)
def test_the_share_of_worlds_without_a_gain_in_which_one_is_seen_is_small(
    recipe: AdaptationRecipe, grid: Grid, worlds: int, share: float
) -> None:
    assert wrongly_kept(recipe, grid, range(1000, 1000 + worlds)) <= share


@pytest.mark.slow
def test_a_planted_gain_is_kept() -> None:
    for recipe, grid, worlds in ((RESIDUAL, SMALL, 6), (RIDGE, ONCE, 20)):
        taken = [chosen(planted(gain=0.7, concepts=40, seed=s), recipe, grid, s).strength > 0 for s in range(worlds)]
        assert np.mean(taken) >= 0.8


def test_a_choice_tells_what_it_rests_on() -> None:
    choice = chosen(planted(gain=1.0, concepts=40), RESIDUAL, SMALL)
    assert np.array(choice.curve).shape == (2, 3)
    assert choice.after == pytest.approx(
        choice.curve[SMALL.steps.index(choice.steps)][SMALL.strengths.index(choice.strength)]
    )
    assert choice.gain.low > 0
    assert choice.after > choice.before
    assert choice.grid == SMALL


def test_where_nothing_is_taken_the_best_is_still_told() -> None:
    choice = chosen(planted(gain=0.7, concepts=30), RESIDUAL, SMALL, shuffled=True)
    assert choice.strength == 0
    assert choice.steps in SMALL.steps
    assert choice.gain.low <= 0 or choice.after <= choice.before


class Spy:
    """Notes on which samples a measure is asked for, and gives what it is told to."""

    def __init__(self, gain: dict[float, float]) -> None:
        self.gain, self.asked = gain, []  # type: ignore[var-annotated]

    def __call__(self, table: FeatureTable, adapters: Adapters) -> dict[str, np.ndarray]:
        assert isinstance(adapters, tuple)
        image = adapters[0]
        strength = 0.0 if image is None else float(torch.as_tensor(image.strength))
        self.asked.append((frozenset(table.ids), strength))
        noise = np.random.default_rng(len(table)).normal(size=len(table)) * 0.01
        values = 0.5 + self.gain.get(strength, 0.0) * (1 + noise)
        return {"mean_mrr": values, "negative_log_rank": np.log(values)}


def spied(gain: dict[float, float], **grid: Any) -> tuple[Choice, Spy]:
    world, spy = planted(concepts=20), Spy(gain)
    experiment = dataclasses.replace(world.experiment([]), measure=spy)
    settings = Grid(**{"steps": (1,), "strengths": (0.25, 0.5, 0.75), **grid})
    return choose(RIDGE, settings, experiment, world.table, world.groups, 0), spy


def test_each_sample_is_held_out_as_often_as_folds_are_drawn_and_with_its_concept() -> None:
    _, spy = spied({}, folds=4, repeats=3)
    parts = [ids for ids, strength in spy.asked if strength == 0]
    assert len(parts) == 12
    counts = {name: sum(name in part for part in parts) for name in planted(concepts=20).table.ids}
    assert set(counts.values()) == {3}
    for part in parts:
        things = [name.split(",")[0] for name in part]
        assert all(things.count(thing) == 2 for thing in things)


def test_one_part_held_out_in_place_of_folds() -> None:
    _, spy = spied({}, holdout=0.75)
    [part] = [ids for ids, strength in spy.asked if strength == 0]
    assert len(part) == 10, "a quarter of 40 samples"


def test_the_best_strength_is_taken_where_it_is_clearly_the_best() -> None:
    assert spied({0.25: 0.05, 0.5: 0.2, 0.75: 0.1})[0].strength == 0.5


def test_of_strengths_that_do_equally_well_the_weakest_is_taken() -> None:
    """What stays nearer to the original loses less elsewhere."""
    assert spied({0.25: 0.2, 0.5: 0.2, 0.75: 0.2})[0].strength == 0.25


@pytest.mark.parametrize("gain", [{}, {0.25: -0.1, 0.5: -0.2, 0.75: -0.3}])
def test_where_no_setting_is_better_the_original_stays(gain: dict[float, float]) -> None:
    assert spied(gain)[0].strength == 0


def test_the_choice_hangs_on_the_seed_alone() -> None:
    world = planted(gain=0.7, concepts=30)
    torch.rand(3)
    first = chosen(world, RESIDUAL, SMALL, seed=4)
    torch.rand(5)
    assert chosen(world, RESIDUAL, SMALL, seed=4) == first


def test_looking_on_the_way_does_not_change_where_it_leads() -> None:
    """One training run serves all numbers of steps, and each is what training that long alone gives."""
    table = planted(gain=1.0, concepts=20).table
    recipe = AdaptationRecipe("residual", {"dropout": 0.0})
    several, alone = fit(recipe, tiny(), table, (5, 10), 0), fit(recipe, tiny(), table, (5,), 0)
    for one, other in zip(several[5], alone[5], strict=True):  # type: ignore[arg-type]
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())
    assert not torch.equal(several[5][0].linear.weight, several[10][0].linear.weight)  # type: ignore[index]


def test_adapters_come_ready_to_use() -> None:
    taken = fit(RESIDUAL, tiny(), planted(concepts=20).table, (3,), 0)[3]
    for adapter in taken:  # type: ignore[union-attr]
        assert adapter is not None
        assert not adapter.training
        assert not any(parameter.requires_grad for parameter in adapter.parameters())


def test_a_fitted_method_gives_the_same_for_all_steps() -> None:
    table = planted(concepts=20).table
    taken = fit(RIDGE, tiny(), table, (10, 20), 0)
    first, second = (measure_retrieval(table, taken[step])["mean_mrr"] for step in (10, 20))
    assert np.array_equal(first, second)
