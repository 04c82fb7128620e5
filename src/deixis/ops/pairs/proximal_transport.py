"""Optimal transport between two small sets, pair by pair, by proximal steps (IPOT; Xie et al. 2018)."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deixis.ops.precision import to_float32

__all__ = ["cosine_cost", "ipot", "uniform_plan"]

_MOST, _EXPONENT = 8, 30
"""Of the iterations after which the scalings are multiplied into the plan, and of the exponent that has grown until
then: powers of the kernel must not vanish before."""

_SHORTEST, _LEAST = 1e-12, 1e-30
"""Of a vector's length, and of what is divided by: a row that is so far from all others is left out."""


def cosine_cost(
    x: Float[Tensor, "B N D"],
    y: Float[Tensor, "B M D"],
    x_valid: Bool[Tensor, "B N"] | None = None,
    y_valid: Bool[Tensor, "B M"] | None = None,
) -> Float[Tensor, "B N M"]:
    """1 - cos(x_i, y_j); 0 where one of both is padding.

    Args:
        x: rows of one side.
        y: of the other.
        x_valid: which rows are real; all by default.
        y_valid: the same of the other side.
    """
    first, second = (each / each.norm(dim=-1, keepdim=True).clamp(min=_SHORTEST) for each in (x, y))
    cost = 1 - first @ second.transpose(1, 2)
    for valid, axis in ((x_valid, 2), (y_valid, 1)):
        if valid is not None:
            cost = cost.masked_fill(~valid.unsqueeze(axis), 0.0)
    return cost


@torch.no_grad()
def ipot(
    cost: Float[Tensor, "B N M"],
    rows: Bool[Tensor, "B N"],
    columns: Bool[Tensor, "B M"],
    *,
    beta: float = 0.5,
    iterations: int = 50,
    inner: int = 1,
) -> Float[Tensor, "B N M"]:
    """The plan by which equal parts of all real rows go to equal parts of all real columns at little cost.

    With n rows and m columns, G = exp(-cost / beta), a plan P of ones and s = 1 / n, each iteration is

        Q = G * P;   `inner` times: d = 1 / (m Q's), s = 1 / (n Q d);   P = diag(s) Q diag(d)

    so that sums of rows are exactly 1 / n, and those of columns come near 1 / m. No gradient passes. Where no row or
    no column is real, the plan is 0.

    Q is G to a power between two diagonal matrices, so that an iteration multiplies the matrix once, and otherwise
    only vectors with it.

    Args:
        cost: of a row and a column.
        rows: which are real.
        columns: which are real.
        beta: the larger, the more even the plan.
        iterations: proximal steps.
        inner: scalings in each of them.
    """
    kernel = (-to_float32(cost) / beta).exp() * (rows[:, :, None] & columns[:, None, :])
    some, more = rows.to(kernel), columns.to(kernel)
    parts, shares = some / some.sum(1, keepdim=True).clamp(min=1), more / more.sum(1, keepdim=True).clamp(min=1)
    fold = max(1, min(_MOST, int(_EXPONENT * beta / max(float(cost.abs().amax()), beta)) if cost.numel() else 1))
    parts, shares = parts * columns.any(1, keepdim=True), shares * rows.any(1, keepdim=True)
    plan, product, s, d = kernel.clone(), torch.empty_like(kernel), parts, shares
    left, right = torch.ones_like(some), torch.ones_like(more)
    for step in range(1, iterations + 1):
        for _ in range(inner):
            d = shares / torch.bmm((s * left)[:, None], plan)[:, 0].mul_(right).clamp_(min=_LEAST)
            torch.mul(plan, (right * d)[:, None], out=product)  # with its sum faster than bmm in this order of axes
            s = parts / product.sum(2).mul_(left).clamp_(min=_LEAST)
        left, right = left * s, right * d
        if step == iterations or step % fold == 0:
            plan *= left[:, :, None]
            plan *= right[:, None]
            left, right = torch.ones_like(left), torch.ones_like(right)
        if step < iterations:
            plan *= kernel
    return plan.to(cost.dtype)


def uniform_plan(rows: Bool[Tensor, "B N"], columns: Bool[Tensor, "B M"]) -> Float[Tensor, "B N M"]:
    """The plan that carries equal parts of all real rows to all real columns, whatever it costs.

    Args:
        rows: which are real.
        columns: which are real.
    """
    both = (rows[:, :, None] & columns[:, None]).float()
    return both / both.sum((1, 2), keepdim=True).clamp(min=1)
