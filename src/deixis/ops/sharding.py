"""Tensors of which each rank holds a share (torch's `DTensor`, as `fully_shard` makes them of weights), and plain ones,
by the same functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from deixis.ops.collective import is_share, rank, total
from deixis.types.protocols import TorchModule

__all__ = ["clip_norm", "fill", "gathered", "has_shares", "own", "split_groups", "total_norm"]


def has_shares(module: TorchModule) -> bool:
    """Whether any parameter of `module` is a share."""
    return any(is_share(parameter) for parameter in module.parameters())


def own(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """What this rank holds of a tensor, to be written to as well; all of a plain one."""
    return tensor.to_local() if is_share(tensor) else tensor  # type: ignore[attr-defined]


@torch.no_grad()
def fill(tensor: Shaped[Tensor, "..."], whole: Shaped[Tensor, "..."]) -> None:
    """Copies the values of `whole`, which all ranks have, into `tensor`, of which each may hold a share."""
    if is_share(tensor):
        from torch.distributed.tensor import distribute_tensor

        share: Any = tensor
        there = whole.to(share.device)
        whole = distribute_tensor(there, share.device_mesh, share.placements, src_data_rank=None).to_local()
    own(tensor).copy_(whole)


@torch.no_grad()
def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors, shares put together on rank 0's processor one by one; the other ranks, which call it too, get None.

    Where there are no shares they are as they come, on any rank.
    """
    if not any(map(is_share, tensors.values())):
        return dict(tensors)
    found = {}
    for name, value in tensors.items():
        whole = value.full_tensor() if is_share(value) else value  # type: ignore[attr-defined]
        if rank() == 0:
            found[name] = whole.cpu()
    return found if rank() == 0 else None


def total_norm(grads: Sequence[Float[Tensor, "..."]]) -> Float[Tensor, ""]:
    """The norm of all tensors together, over all shares; plain tensors are equal on all ranks and count once."""
    plain = get_total_norm([grad for grad in grads if not is_share(grad)])
    shares = [own(grad) for grad in grads if is_share(grad)]
    if not shares:
        return plain
    norm = get_total_norm(shares).to(shares[0].device)
    squares = total(norm.double().square())
    return (plain.to(norm.device).double().square() + squares).sqrt().to(norm.dtype)


def clip_norm(parameters: Iterable[nn.Parameter], highest: float, norm: float) -> None:
    """Scales all gradients by one factor, so that `norm`, which is that of all together, is at most `highest`."""
    trained = [parameter for parameter in parameters if parameter.grad is not None]
    clip_grads_with_norm_([each for each in trained if not is_share(each)], highest, torch.tensor(norm))
    for each in trained:
        if is_share(each) and each.grad is not None:
            own(each.grad).mul_(min(1.0, highest / (norm + 1e-6)))


def split_groups(groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Groups of an optimiser, the shares in groups of their own: a fused step can't mix them with plain tensors."""
    split = []
    for group in groups:
        for shares in (False, True):
            held = [parameter for parameter in group["params"] if is_share(parameter) is shares]
            split += [{**group, "params": held}] if held else []
    return split
