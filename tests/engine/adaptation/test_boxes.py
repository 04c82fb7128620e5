"""Ranking boxes by one's own: what can be learned is proven on other pictures, and noise is never kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from deixis.engine.adaptation.adapt import AdaptationArm
from deixis.engine.adaptation.boxes import BoxTable, answer_values, choose, cross_validate, phrase_values, weights_of
from deixis.engine.adaptation.evaluate import TEST_STATISTIC
from deixis.engine.adaptation.region_choosers import best_learner
from deixis.engine.adaptation.verdict import judge
from deixis.engine.evaluation.grounding import PhraseAnswer, PhraseQuery
from deixis.errors import DeixisError
from deixis.types import Region
from deixis.types.outputs import RankedBoxes


def planted(phrases: int, learnable: bool, seed: int = 0) -> BoxTable:
    """Six candidates a phrase, two phrases a picture; the right one is that of the highest first feature, or any."""
    generator = torch.Generator().manual_seed(seed)
    rows, overlaps = [], []
    for _ in range(phrases):
        features, offsets = torch.randn(6, 4, generator=generator), torch.randn(6, generator=generator)
        right = int(features[:, 0].argmax()) if learnable else int(torch.randint(6, (1,), generator=generator))
        rows.append(RankedBoxes(torch.rand(6, 4, generator=generator), features, offsets))
        overlaps.append(torch.arange(6).eq(right).float())
    hits = tuple(each.bool() for each in overlaps)
    return BoxTable(tuple(rows), tuple(overlaps), hits, tuple(n // 2 for n in range(phrases)), (2, 2), 0.5)


def test_what_boxes_have_in_common_is_proven_on_pictures_that_were_held_out() -> None:
    table = planted(80, learnable=True)
    arm, chosen = cross_validate(table, seed=0, repeats=1)
    assert judge(arm, "box_accuracy").outcome == "adapted"
    assert arm.intervals("before")["box_accuracy"].value < 0.4
    assert arm.intervals("after")["box_accuracy"].value > 0.8
    assert all(each.penalty < float("inf") for each in chosen)
    assert sorted(place for result in arm.results for place in result.queries) == list(range(80))


@pytest.mark.parametrize("seed", range(3))
def test_of_twenty_boxes_that_have_nothing_in_common_nothing_is_kept(seed: int) -> None:
    arm, _ = cross_validate(planted(20, learnable=False, seed=seed), seed, repeats=1)
    assert judge(arm, "box_accuracy").outcome != "adapted"


def test_an_infinite_penalty_leaves_every_phrase_as_it_was() -> None:
    table = planted(20, learnable=True)
    nothing, something = weights_of(table, (float("inf"), 0.1))
    assert not nothing.any()
    assert something.any()
    values = phrase_values(table, nothing)["box_accuracy"]
    best = [int(row.offsets.argmax()) for row in table.rows]
    assert values.tolist() == [float(overlaps[place]) for overlaps, place in zip(table.overlaps, best, strict=True)]


def test_where_no_proposal_is_right_nothing_is_learned() -> None:
    table = planted(20, learnable=True)
    blind = BoxTable(table.rows, tuple(0 * each for each in table.overlaps), table.hits, table.groups, (2, 2), 0.5)
    assert not weights_of(blind, (0.1,))[0].any()
    assert choose(blind, 0) == float("inf")


def test_each_division_takes_the_learner_that_is_best_in_the_others() -> None:
    judged, _ = cross_validate(planted(40, learnable=True), seed=0, repeats=1)

    def with_values(better: set[int]) -> AdaptationArm:
        """Right in some divisions, wrong in the others."""
        results = []
        for each in judged.results:
            after = {name: np.full(len(each.queries), float(each.index in better)) for name in each.after}
            results.append(dataclasses.replace(each, after=after))
        return AdaptationArm(tuple(results), judged.groups)

    arms = {"mostly": with_values({0, 1, 2}), "once": with_values({3})}
    arm, taken, best = best_learner(arms)
    assert best == "mostly"
    assert taken == ("mostly",) * 5
    assert [float(each.after["box_accuracy"].mean()) for each in arm.results] == [1.0, 1.0, 1.0, 0.0, 0.0]
    even = {"first": with_values({0}), "second": with_values({4})}
    assert best_learner(even)[1] == ("second", "first", "first", "first", "first"), "not by what it holds out"


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(DeixisError, match="at least 5"):
        cross_validate(planted(6, learnable=True), seed=0)


@pytest.mark.slow
def test_another_method_is_chosen_where_its_answers_are_better_and_what_it_says_is_then_what_is_measured() -> None:
    table = planted(40, learnable=False)
    nothing = phrase_values(table, weights_of(table, (float("inf"),))[0])
    perfect = {**{name: np.ones(40) for name in nothing}, TEST_STATISTIC: np.zeros(40)}
    arm, chosen = cross_validate(table, seed=0, repeats=1, other=perfect)
    assert {each.penalty for each in chosen} == {None}
    assert judge(arm, "box_accuracy").outcome == "adapted"
    assert arm.intervals("after")["box_accuracy"].value == 1
    useless = {name: values - 3 for name, values in nothing.items()}
    _, chosen = cross_validate(table, seed=0, repeats=1, other=useless)
    assert None not in {each.penalty for each in chosen}


def test_boxes_that_a_method_gives_itself_are_measured_as_proposals_are() -> None:
    right, wrong = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9)
    answers = [
        PhraseAnswer(torch.tensor([wrong, right]), torch.tensor([0.9, 0.4])),
        PhraseAnswer(torch.tensor([right]), torch.tensor([0.3])),
        PhraseAnswer(torch.zeros(0, 4), torch.zeros(0)),
    ]
    found = answer_values(answers, [PhraseQuery(0, "a lid", "noun", (Region(right),))] * 3)
    assert found["box_accuracy"].tolist() == found["box_pointing"].tolist() == [0, 1, 0]
    np.testing.assert_allclose(found[TEST_STATISTIC], [-np.log(2), 0, 0])
