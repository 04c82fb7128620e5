"""Numbers that say whether vectors have collapsed, and whether choices fall on few things."""

from __future__ import annotations

import pytest
import torch

from deixis.nn.collapse import collapse_warnings, copies_found, share_used, unit_deviation


def test_the_deviation_is_0_where_all_vectors_are_one_and_1_where_they_lie_evenly() -> None:
    assert float(unit_deviation(torch.ones(5, 8) * torch.arange(1.0, 6)[:, None])) == pytest.approx(0, abs=1e-6)
    assert float(unit_deviation(torch.randn(4000, 16))) == pytest.approx(1, abs=0.01)


def test_all_is_used_where_each_choice_is_another_and_a_quarter_where_four_are_one() -> None:
    assert share_used(torch.arange(4), 100) == 1.0
    assert share_used(torch.zeros(4, dtype=torch.long), 100) == 0.25


def test_a_copy_is_found_where_nothing_is_more_like_it() -> None:
    rows = torch.eye(4)
    assert float(copies_found(rows, rows + 0.1)) == 1.0
    assert float(copies_found(rows, rows.roll(1, dims=0))) == 0.0


def test_a_collapse_is_named_and_spread_vectors_are_not() -> None:
    assert "have collapsed: they deviate by 0.010" in collapse_warnings({"deviation": 0.01})["collapsed"]
    assert collapse_warnings({"deviation": 0.6}) == {}
