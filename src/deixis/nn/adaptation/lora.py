"""Low-rank adaptation: a frozen weight plus a product of two thin matrices that train.

    W' = W + (rank scale) B A,     A [r, in] random, B [out, r] zero, so that a new one changes nothing

Source: Hu et al., LoRA (2021), section 4.1; the scale is alpha / r with alpha = r, that is 1.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrize

__all__ = ["LowRank", "add_low_rank", "low_rank_changes"]


class LowRank(nn.Module):
    """The sum of a weight and a low-rank change of it; for linear layers, and convolutions taken as matrices.

    Args:
        shape: of the weight.
        rank: of the change.
    """

    def __init__(self, shape: torch.Size, rank: int) -> None:
        super().__init__()
        rows, columns = shape[0], shape[1:].numel()
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """The changed weight, of the same shape."""
        return weight + (self.up @ self.down).reshape(weight.shape)


def add_low_rank(module: nn.Module, rank: int) -> list[str]:
    """Adds a low-rank change to every linear layer and every ungrouped convolution inside `module`, in place.

    Args:
        module: whose own weights are left as they are.
        rank: of the changes; layers with no side larger than it are left out.

    Returns:
        Names of the new parameters, within `module`.
    """
    layers = [
        (name, layer)
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups == 1)
    ]
    added = []
    for name, layer in layers:
        if min(layer.weight.shape[0], layer.weight.shape[1:].numel()) > rank:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight.shape, rank))
            added += [f"{name}.parametrizations.weight.0.{part}" for part in ("down", "up")]
    return added


@torch.no_grad()
def low_rank_changes(module: nn.Module) -> dict[str, Float[Tensor, "..."]]:
    """What `add_low_rank` has come to: name of the weight, as it was called before -> change of it."""
    return {
        f"{name}.weight": layer.weight - layer.parametrizations.weight.original
        for name, layer in module.named_modules()
        if parametrize.is_parametrized(layer, "weight")
    }
