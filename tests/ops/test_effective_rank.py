"""The effective rank counts directions."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from deixis.ops.effective_rank import effective_rank


@pytest.mark.parametrize("count", [1, 3, 8])
def test_orthogonal_directions_of_equal_weight_are_counted(count: int) -> None:
    vectors = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)))[0][:count]
    assert effective_rank(vectors) == pytest.approx(count)
    assert effective_rank(7 * vectors) == pytest.approx(count)


def test_vectors_that_are_one_have_one_direction() -> None:
    assert effective_rank(torch.ones(50, 16)) == pytest.approx(1)
    near = F.normalize(
        torch.ones(50, 16) + 1e-3 * torch.randn(50, 16, generator=torch.Generator().manual_seed(0)), dim=-1
    )
    assert 1 < effective_rank(near) < 1.2


def test_two_directions_of_unequal_weight_are_between_one_and_two() -> None:
    """Shares 3/4 and 1/4: exp(-(0.75 log 0.75 + 0.25 log 0.25))."""
    assert effective_rank(torch.tensor([[3.0, 0], [0, 1.0]])) == pytest.approx(1.7547654)


def test_nothing_has_no_direction() -> None:
    assert effective_rank(torch.zeros(4, 3)) == 0.0
