"""Batch norm over the samples of all ranks, on any device; torch's `SyncBatchNorm` needs a GPU.

The ranks may hold different numbers of samples. Values and gradients are those of one process that holds all.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable
from typing import Any, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deixis.nn.frozen import is_frozen
from deixis.ops.collective import total, world_size

__all__ = ["share_batch_norms"]

M = TypeVar("M", bound=nn.Module)


class _Total(torch.autograd.Function):
    """The sum over all ranks; what all ranks say of it comes back to each."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return total(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return total(grads[0].contiguous())


def _normalised(norm: nn.modules.batchnorm._BatchNorm, values: Tensor) -> Tensor:
    """What a batch norm in training mode gives, with the statistics of all ranks."""
    axes = [axis for axis in range(values.dim()) if axis != 1]
    wide = [1, -1, *[1] * (values.dim() - 2)]
    wanted = torch.promote_types(values.dtype, torch.float32)
    numbers = values.to(wanted)
    count = total(torch.tensor(float(numbers.numel() // numbers.shape[1]), dtype=wanted, device=values.device))
    mean = _Total.apply(numbers.sum(axes)) / count
    centred = numbers - mean.view(wide)
    variance = _Total.apply(centred.square().sum(axes)) / count
    if norm.running_mean is not None and norm.running_var is not None:
        _follow(norm, mean.detach(), (variance * count / (count - 1).clamp(min=1)).detach())
    scaled = centred * torch.rsqrt(variance + norm.eps).view(wide)
    if norm.weight is not None:
        scaled = scaled * norm.weight.view(wide) + norm.bias.view(wide)
    return scaled.to(values.dtype)


@torch.no_grad()
def _follow(norm: nn.modules.batchnorm._BatchNorm, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics; without a momentum they are the means of all batches."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    share = norm.momentum
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        share = 1 / float(norm.num_batches_tracked) if share is None else share
    norm.running_mean.lerp_(mean.to(norm.running_mean), share or 0.0)
    norm.running_var.lerp_(variance.to(norm.running_var), share or 0.0)


class _Shared:
    """Mixed into the class of a batch norm: in training mode, with several ranks, it takes the statistics of all."""

    def forward(self, values: Float[Tensor, "B c ..."]) -> Float[Tensor, "B c ..."]:
        """The values, normalised channel by channel."""
        own: Any = self
        if not own.training or world_size() == 1:
            return super().forward(values)  # type: ignore[misc]
        normalised = _normalised(own, values)
        for name in ("drop", "act"):  # of timm's norms, which end in an activation
            follower = getattr(own, name, None)
            normalised = normalised if follower is None else follower(normalised)
        return normalised

    def __reduce__(self) -> tuple[Any, ...]:
        # The class below has no name that a pickle could find; this serves deepcopy, too.
        return _blank, (type(self).__mro__[2],), self.__dict__


@functools.cache
def _shared_class(cls: Any) -> Any:
    return type(f"Rank{cls.__name__}", (_Shared, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _blank(cls: Any) -> Any:
    """A norm of `cls` that shares its statistics, with nothing in it yet."""
    shared = _shared_class(cls)
    return shared.__new__(shared)


def share_batch_norms(module: M) -> M:
    """Lets all batch norms of a module that are not frozen take the statistics of all ranks, in place; its state keys
    do not change.

    Args:
        module: its norms are torch's, or timm's, which end in an activation.

    Returns:
        The module.
    """
    for each in module.modules():
        if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(each, _Shared) and not is_frozen(each):
            each.__class__ = _shared_class(cast(Hashable, type(each)))
    return module
