"""Towers whose weights, gradients and moments lie in shares on the ranks: torch's `fully_shard` (FSDP2).

A tower's blocks are put together one at a time, when they compute, and so is what else the tower holds. Everything else
in a method stays whole on every rank, and its gradients are averaged as ever.
"""

from __future__ import annotations

import copy
import re
import warnings
from typing import Any

import torch
from torch import nn

from deixis.engine.training.batching import encoder_of
from deixis.engine.training.stages import card_of
from deixis.errors import DeixisError
from deixis.nn.blocks import block_names
from deixis.nn.frozen import is_frozen
from deixis.ops.collective import rank, world_size
from deixis.ops.sharding import gathered
from deixis.types.protocols import TrainedMethod

__all__ = ["Shards"]

_LEAST = (2, 13)
"""The release of torch from which `fully_shard` sees the gradients of what towers give back, which are dataclasses."""


class Shards:
    """Shares out the towers of a method over the ranks, in place; in a single process it leaves them as they are.

    Args:
        method: with the same weights on all ranks. What is shared out is moved to the device, block by block; the rest
            is to be moved behind it.
        device: where this rank computes.

    Raises:
        DeixisError: no tower of the method trains, or torch is too old.
    """

    def __init__(self, method: TrainedMethod, device: torch.device) -> None:
        encoder = encoder_of(method)
        if encoder is None or is_frozen(encoder):
            raise DeixisError(
                f"No tower of {card_of(method).title!r} is trained, so there is nothing to shard.",
                "Train it without --shard.",
            )
        self._method = method
        self._plain: TrainedMethod | None = method
        if world_size() == 1:
            return
        release = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
        if release < _LEAST:
            raise DeixisError(f"--shard needs torch {'.'.join(map(str, _LEAST))}; here is {torch.__version__}.", _NEWER)
        towers = (encoder.image_tower, encoder.text_tower)
        self._plain = _hollow(method, towers) if rank() == 0 else None
        for tower in towers:
            _share_out(tower, device)

    def whole(self) -> TrainedMethod | None:
        """The method as it is now, whole and on the processor, on rank 0; None on the others, which call it too."""
        if self._plain is self._method:
            return self._method
        tensors = gathered(self._method.state_dict())
        if tensors is None or self._plain is None:
            return None
        self._plain.load_state_dict(tensors, assign=True)
        return self._plain.to("cpu").eval()


_NEWER = "Install a newer one, or train without --shard."


_ENTRANCES = ("tokens", "feature_maps", "embeddings", "encode", "from_embeddings")
"""What methods call on a tower beside itself: its weights are put together for each of these."""


def _hollow(method: TrainedMethod, towers: tuple[nn.Module, ...]) -> TrainedMethod:
    """A copy in which the weights of the towers take no memory: what is shared out can't be put together in place."""
    memo: dict[int, Any] = {
        id(weight): nn.Parameter(weight.detach().to("meta"), requires_grad=weight.requires_grad)
        for tower in towers
        for weight in tower.parameters()
    }
    return copy.deepcopy(method, memo)


def _share_out(tower: nn.Module, device: torch.device) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

    weights = list(tower.parameters())
    for weight in weights:
        weight.data = weight.data.contiguous()  # convolutions may lie otherwise, which is refused
    mesh = init_device_mesh(device.type, (world_size(),))
    scalars = {weight for weight in weights if weight.dim() == 0}  # these can't be shared out
    for part in (*map(tower.get_submodule, block_names(tower)), tower):
        if any(weight not in scalars for weight in part.parameters()):
            fully_shard(part, mesh=mesh, reshard_after_forward=True, ignored_params=scalars)
    for name in _ENTRANCES:
        if hasattr(tower, name):
            register_fsdp_forward_method(tower, name)
    # It warns of views that are changed in place, and nobody changes what a tower gives back.
    warnings.filterwarnings("ignore", rf"FSDP2-wrapped module \({type(tower).__name__}\) returned a view")
