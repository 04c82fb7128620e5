"""Sums and exchanges between processes; in a single process each is the identity.

The convention of the house: the mean over ranks of the losses is the global loss. So a loss that averages over a count
which differs between ranks divides by `mean_count`, and one that compares all samples with all uses `gather`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Shaped
from torch import Tensor

__all__ = [
    "average_gradients",
    "gather",
    "gather_ragged",
    "is_share",
    "mean_count",
    "own_rows",
    "rank",
    "total",
    "world_size",
]


def world_size() -> int:
    """The number of processes that work together; 1 without a process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


class _Gather(torch.autograd.Function):
    """Rows of all ranks; the gradient of a rank's rows is the sum of what all ranks say of them."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        counts = [torch.zeros(1, dtype=torch.long, device=rows.device) for _ in range(world_size())]
        dist.all_gather(counts, torch.tensor([len(rows)], device=rows.device))
        ctx.counts = [int(count) for count in counts]
        longest = max(ctx.counts)
        mine = torch.nn.functional.pad(rows, [0, 0] * (rows.dim() - 1) + [0, longest - len(rows)])
        pieces = [torch.empty_like(mine) for _ in ctx.counts]
        dist.all_gather(pieces, mine.contiguous())
        return torch.cat([piece[:count] for piece, count in zip(pieces, ctx.counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad.split(ctx.counts)[dist.get_rank()]


def gather(rows: Float[Tensor, "B ..."]) -> Float[Tensor, "N ..."]:
    """The rows of all ranks in rank order, with gradient; the ranks may hold different numbers of rows."""
    return rows if world_size() == 1 else _Gather.apply(rows)


def gather_ragged(rows: Float[Tensor, "B L ..."]) -> Float[Tensor, "N M ..."]:
    """As `gather`, where the ranks may have padded the second axis to different lengths: all are to the longest."""
    if world_size() == 1:
        return rows
    longest = int(gather(torch.full((1,), float(rows.shape[1]), device=rows.device)).max())
    return gather(torch.nn.functional.pad(rows, [0, 0] * (rows.dim() - 2) + [0, longest - rows.shape[1]]))


def own_rows(count: int, device: torch.device | None = None) -> slice:
    """Where this rank's `count` rows stand among those of all ranks, as `gather` orders them."""
    counts = torch.zeros(world_size(), dtype=torch.long, device=device)
    counts[rank()] = count
    start = int(total(counts)[: rank()].sum())
    return slice(start, start + count)


def total(value: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """The sum of a detached tensor over all ranks."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value


def mean_count(count: Shaped[Tensor, ""] | float) -> Float[Tensor, ""]:
    """The count averaged over ranks: dividing each rank's sum by it makes the mean over ranks the global mean."""
    return total(torch.as_tensor(count, dtype=torch.float64)).float() / world_size()


def is_share(tensor: Shaped[Tensor, "..."]) -> bool:
    """Whether each rank holds a share of the tensor (torch's `DTensor`), as `fully_shard` makes them of weights."""
    loaded = sys.modules.get("torch.distributed.tensor")  # half a second to import, and without it there are none
    return loaded is not None and isinstance(tensor, loaded.DTensor)


def average_gradients(parameters: Iterable[torch.nn.Parameter]) -> None:
    """Replaces each gradient by its mean over ranks; a rank without one counts as zero.

    Where no rank has one there is none after, so that the optimiser leaves that parameter alone, as in one process.
    Shares are left out: the backward pass has averaged them.
    """
    if world_size() == 1:
        return
    trained = [each for each in parameters if each.requires_grad and not is_share(each)]
    if not trained:
        return
    held = total(torch.tensor([p.grad is not None for p in trained], device=trained[0].device).long())
    for parameter, ranks in zip(trained, held.tolist(), strict=True):
        if ranks:
            grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.contiguous()
            dist.all_reduce(grad)
            # As the parameter lies in memory: a fused optimiser walks through both side by side.
            parameter.grad = torch.empty_like(parameter, requires_grad=False).copy_(grad / world_size())
