"""Proximal transport against the golden plan, and what a plan must be."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from deixis.ops.pairs.proximal_transport import cosine_cost, ipot, uniform_plan
from tests.support import load_golden


def valid(counts: list[int], size: int) -> Tensor:
    return torch.arange(size) < torch.tensor(counts)[:, None]


def loop(cost: Tensor, beta: float, iterations: int, inner: int) -> Tensor:
    """One pair without padding, as the steps are written."""
    rows, columns = cost.shape
    kernel, plan, s = (-cost / beta).exp(), torch.ones_like(cost), torch.full((rows,), 1 / rows, dtype=cost.dtype)
    for _ in range(iterations):
        q = kernel * plan
        for _ in range(inner):
            d = 1 / (columns * (q.T @ s))
            s = 1 / (rows * (q @ d))
        plan = s[:, None] * q * d
    return plan


@pytest.mark.parametrize(("iterations", "inner", "beta"), [(1, 1, 0.5), (8, 2, 0.5), (50, 1, 0.5), (21, 1, 0.02)])
def test_the_plan_is_that_of_the_steps_one_after_the_other(iterations: int, inner: int, beta: float) -> None:
    counts = ([4, 1, 6], [5, 3, 2])
    rows, columns = valid(counts[0], 6), valid(counts[1], 5)
    cost = cosine_cost(torch.randn(3, 6, 4).double(), torch.randn(3, 5, 4).double(), rows, columns)
    found = ipot(cost, rows, columns, beta=beta, iterations=iterations, inner=inner)
    for row, (n, m) in enumerate(zip(*counts, strict=True)):
        torch.testing.assert_close(found[row, :n, :m], loop(cost[row, :n, :m], beta, iterations, inner))
        assert found[row].sum() == pytest.approx(1.0)
        assert not found[row, n:].any()
        assert not found[row, :, m:].any()


def test_equal_costs_give_a_uniform_plan_and_sums_of_rows_are_exact() -> None:
    rows, columns = valid([3, 5], 5), valid([7, 2], 7)
    uniform = rows[:, :, None] / rows.sum(1)[:, None, None] * columns[:, None] / columns.sum(1)[:, None, None]
    torch.testing.assert_close(ipot(torch.full((2, 5, 7), 0.7), rows, columns), uniform)
    torch.testing.assert_close(uniform_plan(rows, columns), uniform)
    plan = ipot(torch.rand(2, 5, 7), rows, columns)
    torch.testing.assert_close(plan.sum(2), rows / rows.sum(1, keepdim=True))


def test_half_precision_and_great_costs_give_finite_plans_and_no_candidate_gives_none() -> None:
    rows, columns = valid([2, 3], 3), valid([4, 0], 4)
    cost = torch.rand(2, 3, 4) * 2
    assert torch.isfinite(ipot(cost * 50, rows, columns, beta=0.5)).all()
    assert torch.isfinite(ipot(cost.bfloat16(), rows, columns)).all()
    assert not ipot(cost, rows, columns)[1].any()


@pytest.mark.golden
def test_cost_plan_distance_and_gradients_are_the_golden_ones() -> None:
    golden = load_golden("uniter_ot")
    x, y = golden["in.x"].requires_grad_(), golden["in.y"].requires_grad_()
    rows, columns = ~golden["in.x_pad"], ~golden["in.y_pad"]
    cost = cosine_cost(x, y, rows, columns)
    numbers = {name: float(golden[f"cfg.{name}"]) for name in ("beta", "iterations", "inner_iterations")}
    plan = ipot(
        cost,
        rows,
        columns,
        beta=numbers["beta"],
        iterations=int(numbers["iterations"]),
        inner=int(numbers["inner_iterations"]),
    )
    distance = (plan * cost).sum((1, 2))
    (distance * golden["in.cotangent"]).sum().backward()
    for name, value in {"out.cost": cost, "out.plan": plan, "out.distance": distance}.items():
        torch.testing.assert_close(value, golden.pop(name), rtol=1e-6, atol=1e-12)
    for name, leaf in {"grad.in.x": x, "grad.in.y": y}.items():
        torch.testing.assert_close(leaf.grad, golden.pop(name), rtol=1e-6, atol=1e-12)
    assert not [name for name in golden if name.startswith(("out.", "grad."))]
