"""Sinkhorn gives each image its whole and each prototype its part, at any scale of the scores."""

from __future__ import annotations

import pytest
import torch

from deixis.ops.transport import one_hot_rows, power_law, sinkhorn
from tests.support import load_golden


@pytest.mark.golden
def test_assignments_are_those_of_the_authors_code() -> None:
    golden = load_golden("swav_sinkhorn")
    scores, epsilon, rounds = golden["in.scores"], float(golden["cfg.epsilon"]), int(golden["cfg.iters"])
    marginal = power_law(scores.shape[1], float(golden["cfg.power"]))
    uniform = sinkhorn(scores, epsilon, rounds)
    torch.testing.assert_close(uniform, golden["out.assign"], rtol=1e-10, atol=1e-15)
    torch.testing.assert_close(one_hot_rows(uniform), golden["out.assign_hard"].to(uniform))
    skewed = sinkhorn(scores, epsilon, rounds, marginal)
    torch.testing.assert_close(skewed, golden["out.assign_powerlaw"], rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("marginal", [None, power_law(5, 0.7)], ids=["equal", "power law"])
def test_assignments_are_those_of_scaling_rows_and_columns_in_turn(marginal: torch.Tensor | None) -> None:
    scores = torch.randn(7, 5, dtype=torch.float64)
    parts = torch.full((5,), 1 / 5, dtype=torch.float64) if marginal is None else marginal
    matrix = (scores / 0.3).exp().T
    matrix = matrix / matrix.sum()
    for _ in range(4):
        for k in range(5):
            matrix[k] *= parts[k] / matrix[k].sum()
        for m in range(7):
            matrix[:, m] *= (1 / 7) / matrix[:, m].sum()
    expected = (matrix / matrix.sum(dim=0)).T
    torch.testing.assert_close(sinkhorn(scores, 0.3, 4, marginal), expected)


@pytest.mark.parametrize(("rows", "columns"), [(6, 4), (3, 20)])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_rows_sum_to_one_whatever_the_scale_and_the_number_of_columns(rows: int, columns: int, scale: float) -> None:
    shares = sinkhorn(scale * torch.randn(rows, columns).half(), 0.05, 3)
    assert shares.dtype == torch.float32
    torch.testing.assert_close(shares.sum(dim=1), torch.ones(rows))


def test_with_many_rounds_all_columns_get_their_part() -> None:
    parts = power_law(4, 1.0)
    shares = sinkhorn(torch.randn(40, 4, dtype=torch.float64), 0.5, 200, parts)
    torch.testing.assert_close(shares.mean(dim=0), parts)
