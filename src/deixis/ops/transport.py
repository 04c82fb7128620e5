"""Assignments of many to few that leave none of the few without its part: entropic optimal transport, by Sinkhorn."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from deixis.ops.collective import gather, total
from deixis.ops.precision import to_float32

__all__ = ["one_hot_rows", "power_law", "sinkhorn"]


@torch.no_grad()
def sinkhorn(
    scores: Float[Tensor, "M K"], epsilon: float, rounds: int, marginal: Float[Tensor, " K"] | None = None
) -> Float[Tensor, "M K"]:
    """Shares of each row on K columns, such that all rows together give each column about its part (Cuturi, 2013).

    exp(scores / epsilon) is scaled in turn: each column to its part of the whole, then each row to 1 / M; at the end
    each row sums to 1. So rows do exactly, and columns come as close to their parts as the rounds allow. All is done
    with logarithms, in float32 at least: scores of any size give finite shares. No gradient passes.

    With several ranks M counts the rows of all of them; each holds its own, and only sums of columns are exchanged.

    Args:
        scores: of the rows of this rank; higher is closer.
        epsilon: the smaller, the closer each row comes to a choice of one column.
        rounds: of both scalings.
        marginal: part of each column, all together 1; None: equal parts.
    """
    logs = to_float32(scores) / epsilon
    columns = logs.shape[1]
    parts = logs.new_full((columns,), -math.log(columns)) if marginal is None else marginal.to(logs).log()
    rows = total(torch.tensor(float(len(logs)), dtype=torch.float64, device=logs.device)).log().to(logs.dtype)
    for _ in range(rounds):
        sums = gather(torch.logsumexp(logs, dim=0, keepdim=True))
        logs = logs + parts - torch.logsumexp(sums, dim=0)
        logs = logs - torch.logsumexp(logs, dim=1, keepdim=True) - rows
    return logs.softmax(dim=1)


def power_law(count: int, exponent: float) -> Float[Tensor, " K"]:
    """Parts that fall with their number as (k + 1) ** -exponent, and sum to 1; 0 gives equal parts."""
    parts = torch.arange(1, count + 1, dtype=torch.float64) ** -exponent
    return parts / parts.sum()


def one_hot_rows(shares: Float[Tensor, "M K"]) -> Float[Tensor, "M K"]:
    """All of each row on its largest entry, the first of equal ones."""
    return F.one_hot(shares.argmax(dim=1), shares.shape[1]).to(shares.dtype)
