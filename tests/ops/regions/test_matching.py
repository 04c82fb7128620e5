"""One assignment a sample: the best of all, over its own targets alone."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from deixis.ops.regions.matching import hungarian, of_owner, owners

COST = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))
VALID = torch.arange(4) < torch.tensor([4, 1, 0, 3, 2, 4])[:, None]


def price(cost: Tensor, valid: Tensor, match: Tensor) -> float:
    return sum(float(cost[match[place], place]) for place in valid.nonzero()[:, 0].tolist())


def test_the_matching_costs_what_the_best_of_all_permutations_costs() -> None:
    found = hungarian(COST, VALID)
    assert torch.equal(found >= 0, VALID)
    for cost, valid, match in zip(COST, VALID, found, strict=True):
        places = valid.nonzero()[:, 0].tolist()
        every = itertools.permutations(range(5), len(places))
        best = min(sum(float(cost[q, place]) for q, place in zip(each, places, strict=True)) for each in every)
        assert len(set(match[valid].tolist())) == len(places), "no prediction stands for two targets"
        assert abs(price(cost, valid, match) - best) < 1e-5


def test_other_samples_and_padding_change_nothing() -> None:
    whole = hungarian(COST, VALID)
    for number in range(6):
        assert torch.equal(hungarian(COST[number : number + 1], VALID[number : number + 1])[0], whole[number])
    longer = torch.nn.functional.pad(COST, [2, 0], value=-99.0)
    assert torch.equal(hungarian(longer, torch.nn.functional.pad(VALID, [2, 0]))[:, 2:], whole)


def test_a_swap_of_predictions_swaps_the_answer() -> None:
    turned = hungarian(COST.flip(1), VALID)
    assert torch.equal(torch.where(VALID, 4 - turned, -1), hungarian(COST, VALID))


def test_of_more_targets_than_predictions_the_dearest_stay_alone() -> None:
    cost = torch.tensor([[[3.0, 1.0, 2.0]]])
    assert hungarian(cost, torch.ones(1, 3, dtype=torch.bool)).tolist() == [[-1, 0, -1]]


def test_a_diverged_model_is_matched_somehow() -> None:
    cost = torch.tensor([[[torch.nan, torch.inf], [-torch.inf, 0.0]]])
    assert sorted(hungarian(cost, torch.ones(1, 2, dtype=torch.bool))[0].tolist()) == [0, 1]


def test_what_targets_have_comes_to_the_predictions_that_stand_for_them() -> None:
    match, values = hungarian(COST, VALID), torch.randn(6, 4, 2)
    owner = owners(match, 5)
    found = of_owner(values, owner)
    for sample in range(6):
        for prediction in range(5):
            mine = [place for place in range(4) if match[sample, place] == prediction]
            assert owner[sample, prediction] == (mine[0] if mine else -1)
            assert not mine or torch.equal(found[sample, prediction], values[sample, mine[0]])
    assert of_owner(values[:, :0], owner).shape == (6, 5, 2), "there may be no target at all"
