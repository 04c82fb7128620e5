"""The experiment: what is learned is told on concepts that nothing was learned or chosen from."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deixis.data.splits import Split
from deixis.engine.adaptation.adapt import (
    AdaptationArm,
    AdaptationPlan,
    SplitResult,
    forgotten,
    refit,
    run,
    seed_spread,
    shuffled_captions,
)
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.evaluate import measure_retrieval
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from deixis.engine.adaptation.verdict import judge
from deixis.ops.stats import cluster_t_interval, corrected_t_interval
from tests.planted import planted, tiny

RIDGE = AdaptationPlan(AdaptationRecipe("ridge", {"penalty": 0.05}), Grid(steps=(1,)))
RESIDUAL = AdaptationPlan(AdaptationRecipe("residual", {"learning_rate": 3e-3}), Grid(steps=(20,)))


def experiment(gain: float = 1.0, splits: int = 3, concepts: int = 60) -> Experiment:
    world = planted(gain=gain, concepts=concepts)
    return world.experiment(divide(world.groups, 0, splits))


# Captions dealt out at random


@given(groups=st.lists(st.integers(0, 8), min_size=1, max_size=30), seed=st.integers(0, 9))
def test_all_images_of_a_concept_get_captions_of_one_other_concept(groups: list[int], seed: int) -> None:
    order = shuffled_captions(groups, seed)
    giver = {}
    for place, source in enumerate(order):
        assert giver.setdefault(groups[place], groups[source]) == groups[source]
    assert sorted(giver) == sorted(giver.values()), "each concept gives once, so that no caption is on both sides twice"


def test_the_deal_hangs_on_the_seed() -> None:
    groups = list(range(30))
    assert shuffled_captions(groups, 1) == shuffled_captions(groups, 1)
    assert shuffled_captions(groups, 1) != shuffled_captions(groups, 2)


# Running


def test_a_planted_gain_shows_on_every_split_and_in_the_interval() -> None:
    arm = run(experiment(), RIDGE)
    assert all(result.difference["mean_mrr"].mean() > 0.2 for result in arm.results)
    assert arm.intervals("difference")["mean_mrr"].low > 0.2
    assert arm.corrected()["mean_mrr"].low > 0


def test_captions_are_dealt_out_in_training_and_test_alike() -> None:
    """The control is the whole procedure on data with nothing to learn, and is decided as any other."""
    full = experiment()
    arm = run(full, dataclasses.replace(RIDGE, shuffled=True))
    assert judge(arm, "text_to_image_r1").outcome == "original"
    before = np.concatenate([result.before["mean_mrr"] for result in arm.results])
    assert before.mean() < 0.6 * np.concatenate([r.before["mean_mrr"] for r in run(full, RIDGE).results]).mean()


def test_an_arm_that_ends_with_the_original_is_the_original_bit_for_bit() -> None:
    arm = run(experiment(), dataclasses.replace(RIDGE, shuffled=True)).retained()
    assert {result.adapters for result in arm.results} == {(None, None)}
    assert all(gain == (0, 0, 0) for gain in arm.intervals("difference").values())


def test_nonsense_in_the_test_part_changes_nothing_of_what_is_trained() -> None:
    """Only training samples train: with nonsense in place of all test samples the adapters stay."""
    full = experiment(splits=1)
    [halves] = full.splits
    spoiled = dataclasses.replace(full.table, text=full.table.text.clone(), features=full.table.features.clone())
    spoiled.text[list(halves.test)] = torch.nn.functional.normalize(torch.randn(len(halves.test), 16), dim=1)
    spoiled.features[:, list(halves.test)] = torch.randn(2, len(halves.test), 24)
    plan = dataclasses.replace(RIDGE, grid=None)
    first, second = (run(dataclasses.replace(full, table=table), plan).results[0] for table in (full.table, spoiled))
    assert first.queries == tuple(halves.test)
    for one, other in zip(first.adapters[:1], second.adapters[:1], strict=True):  # type: ignore[index]
        assert all(torch.equal(v, other.state_dict()[k]) for k, v in one.state_dict().items())


def test_before_is_the_original_and_after_the_adapters_on_the_test_samples() -> None:
    full = experiment(splits=2)
    result = run(full, RIDGE).results[0]
    test = full.table.take(result.queries)
    for values, adapters in ((result.before, (None, None)), (result.after, result.adapters)):
        expected = measure_retrieval(test, adapters)
        assert all(np.array_equal(values[name], expected[name]) for name in expected)


def test_without_a_grid_nothing_is_chosen_and_the_full_strength_is_applied() -> None:
    done: list[int] = []
    plan = AdaptationPlan(AdaptationRecipe("residual", {"dropout": 0.0}), grid=None, fixed=5)
    arm = run(experiment(splits=2), plan, on_division=done.append)
    assert done == [0, 1]
    assert arm.final is None
    for result in arm.results:
        assert result.choice is None
        assert all(float(each.strength) == 1.0 for each in result.adapters)  # type: ignore[union-attr]


def test_divisions_of_one_run_learn_from_different_seeds_and_a_run_repeats() -> None:
    same = Split(*dataclasses.astuple(divide(planted(concepts=30).groups, 0, 1)[0]))
    world = planted(gain=1.0, concepts=30)
    plan = AdaptationPlan(AdaptationRecipe("residual", {"dropout": 0.5}), grid=None, fixed=5)
    first, second = (run(world.experiment([same, same]), plan).results for _ in range(2))
    weights = [[r.adapters[0].linear.weight for r in results] for results in (first, second)]  # type: ignore[index]
    assert torch.equal(weights[0][0], weights[1][0])
    assert not torch.equal(weights[0][0], weights[0][1])


# Intervals of an arm


def arm_of(differences: list[list[float]], queries: list[tuple[int, ...]], groups: tuple[int, ...]) -> AdaptationArm:
    results = tuple(
        SplitResult(i, q, {"x": np.zeros(len(q))}, {"x": np.array(d)}, (None, None), None)
        for i, (d, q) in enumerate(zip(differences, queries, strict=True))
    )
    return AdaptationArm(results, groups)


def test_a_sample_counts_once_however_often_it_was_held_out() -> None:
    arm = arm_of([[1.0, 0.0], [0.5, 0.5, 1.0]], [(0, 3), (0, 2, 4)], (7, 7, 8, 8, 9))
    values, concepts = np.array([0.75, 0.5, 0.0, 1.0]), np.array([7, 8, 8, 9])
    assert arm.evidence("x") == cluster_t_interval(values, concepts)
    assert arm.intervals("before")["x"].value == 0


def test_the_interval_of_a_gain_allows_for_another_training_set() -> None:
    """Half of the samples train, so that the variance over concepts doubles."""
    arm = arm_of([[1.0, 0.0], [0.5, 0.25]], [(0, 1), (2, 3)], (0, 1, 2, 3))
    concepts, gain = arm.evidence("x"), arm.gain("x")
    assert gain.value == concepts.value
    assert gain.high - gain.low == pytest.approx(2**0.5 * (concepts.high - concepts.low))


def test_a_slice_counts_its_samples_only() -> None:
    arm = arm_of([[1.0, 0.0], [0.5, 0.25, 1.0]], [(0, 3), (1, 2, 4)], (7, 7, 8, 8, 9))
    mask = np.array([True, False, True, True, False])
    values, concepts = arm.by_sample("difference", "x", mask)
    assert (values.tolist(), concepts.tolist()) == ([1.0, 0.25, 0.0], [7, 8, 8])


def test_the_interval_over_splits_allows_for_their_overlap() -> None:
    arm = arm_of([[1.0, 0.0], [0.5, 1.0], [0.0, 0.2]], [(0, 1), (2, 3), (0, 4)], tuple(range(5)))
    assert arm.corrected()["x"] == corrected_t_interval([0.5, 0.75, 0.1], 1 - 2 / 5)


# What comes after


def test_refitting_gives_the_chosen_strength_or_nothing() -> None:
    full = experiment(splits=2)
    result = run(full, RIDGE).results[0]
    assert result.choice is not None
    image, text = refit(full, RIDGE.recipe, result.choice, full.table, 0)  # type: ignore[misc]
    assert float(image.strength) == pytest.approx(result.choice.strength)
    assert text is None
    kept = dataclasses.replace(result.choice, strength=0.0)
    assert refit(full, RIDGE.recipe, kept, full.table, 0) == (None, None)


@pytest.mark.slow
def test_the_spread_over_training_seeds_is_that_of_repeated_training() -> None:
    full = experiment(splits=2)
    result = run(full, RESIDUAL).results[0]
    values = seed_spread(full, RESIDUAL.recipe, result, seeds=3)
    assert len(values) == 3
    assert np.mean(values) == pytest.approx(result.difference["mean_mrr"].mean(), abs=0.1)
    assert 0 < np.std(values) < 0.05, "dropout and order differ"
    fitted = run(full, RIDGE).results[0]
    assert np.std(seed_spread(full, RIDGE.recipe, fitted, seeds=3)) == 0, "closed form: no seed matters"


def test_what_is_forgotten_is_the_difference_outside_over_the_adapters_of_all_splits() -> None:
    full, outside = experiment(splits=2), planted(gain=0.0, concepts=20, seed=9)
    arm = run(full, dataclasses.replace(RIDGE, grid=None))
    lost = forgotten(arm, measure_retrieval, outside.table, outside.groups, ["mean_mrr"])
    before = measure_retrieval(outside.table, (None, None))["mean_mrr"]
    after = [measure_retrieval(outside.table, result.adapters)["mean_mrr"] for result in arm.results]
    expected = cluster_t_interval(np.mean(after, axis=0) - before, np.asarray(outside.groups))
    assert lost == {"mean_mrr": expected}
    assert expected.value < 0, "a map that holds here only"


def test_the_encoder_itself_never_changes() -> None:
    before = tiny().fingerprint()
    run(experiment(splits=2), RESIDUAL)
    assert tiny().fingerprint() == before
