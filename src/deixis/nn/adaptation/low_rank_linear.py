"""Low-rank changes of frozen linear layers that are computed beside them: W x + B (A x), so that W is never copied.

`lora` sums both into one weight in each step, which suits layers that see many positions; in a large language model the
weights outnumber the positions.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from deixis.nn.adaptation.lora import LowRank
from deixis.nn.frozen import freeze

__all__ = ["LowRankLinear", "add_low_rank_linears"]


class LowRankLinear(nn.Module):
    """A frozen linear layer and a change of it that trains, 0 at first.

    Args:
        layer: frozen in place.
        rank: of the change.
    """

    def __init__(self, layer: nn.Linear, rank: int) -> None:
        super().__init__()
        self.layer, self.change = freeze(layer), LowRank(layer.weight.shape, rank)

    def forward(self, states: Float[Tensor, "*B D"]) -> Float[Tensor, "*B E"]:
        """What the changed layer gives."""
        return self.layer(states) + F.linear(F.linear(states, self.change.down), self.change.up)


def add_low_rank_linears(module: nn.Module, rank: int) -> None:
    """Replaces every linear layer inside a module by one with a low-rank change, and freezes all else in it.

    Args:
        module: changed in place; its other weights must be those of modules without parts.
        rank: of the changes.
    """
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Linear):
            setattr(module, name, LowRankLinear(child, rank))
        elif next(child.children(), None) is None:
            freeze(child)
        else:
            add_low_rank_linears(child, rank)
