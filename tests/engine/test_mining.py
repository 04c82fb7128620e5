"""Hard negatives are of the ranks that were asked for, never right answers; doubtful queries are left out."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from deixis.engine.mining import mine
from deixis.errors import DeixisError
from deixis.types.mining import MiningRule

ANGLES = torch.linspace(0, 1.5, 12)
PASSAGES = torch.stack([ANGLES.cos(), ANGLES.sin()], 1)
"""The first query is as the first passage, and the others stand by their likeness to it."""

KEYS = torch.arange(12)


def test_negatives_are_drawn_between_two_ranks_and_others_by_another_seed() -> None:
    found = mine(PASSAGES[:1], PASSAGES, torch.tensor([0]), KEYS, MiningRule(3, 8, 4))
    assert found.kept.tolist() == [True]
    assert len(set(found.rows[0].tolist())) == 4
    assert set(found.rows[0].tolist()) <= set(range(3, 9)), "rank 1 is the nearest that is not the answer"
    other = mine(PASSAGES[:1], PASSAGES, torch.tensor([0]), KEYS, MiningRule(3, 8, 4), seed=1)
    assert set(other.rows[0].tolist()) != set(found.rows[0].tolist())


def test_what_says_the_same_as_the_answer_is_no_negative() -> None:
    keys = torch.tensor([0, 0, 0, 0, *range(1, 9)])
    found = mine(PASSAGES[:1], PASSAGES, torch.tensor([0]), keys, MiningRule(1, 4, 4))
    assert sorted(found.rows[0].tolist()) == [4, 5, 6, 7]


def test_queries_whose_answer_stands_behind_the_negatives_are_left_out_and_counted() -> None:
    answers = torch.tensor([0, 5])
    found = mine(PASSAGES[[0, 0]], PASSAGES, answers, KEYS, MiningRule(3, 8, 2))
    assert found.kept.tolist() == [True, False]
    assert found.doubtful == 1
    assert len(found.rows) == 1


def test_by_margin_the_nearest_come_that_are_far_enough_from_the_answer() -> None:
    answer = torch.tensor([2])
    found = mine(PASSAGES[:1], PASSAGES, answer, KEYS, MiningRule(drawn=3, margin=0.1))
    limit = float(PASSAGES[0] @ PASSAGES[2]) - 0.1
    far = [place for place in range(12) if float(PASSAGES[0] @ PASSAGES[place]) <= limit]
    assert sorted(found.rows[0].tolist()) == far[:3]
    assert mine(PASSAGES[:1], PASSAGES, answer, KEYS, MiningRule(drawn=3, margin=0.9)).doubtful == 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [({"first": 5, "last": 3}, "ranks 5 to 3"), ({"first": 3, "last": 5, "drawn": 4}, "4 negatives are to be drawn")],
)
def test_rules_that_can_not_be_kept_are_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(DeixisError, match=message):
        MiningRule(**rule)


def test_more_ranks_than_passages_are_refused() -> None:
    with pytest.raises(DeixisError, match="There are 12 passages"):
        mine(PASSAGES[:1], PASSAGES, torch.tensor([0]), KEYS, MiningRule())
