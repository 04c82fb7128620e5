"""From what a tower says of an image to vectors that a language model reads like words."""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor, nn

__all__ = ["Projector", "ProjectorKind"]

ProjectorKind: TypeAlias = Literal["linear", "mlp", "prefix"]


class Projector(nn.Module):
    """Maps each state of a tower. In float32 whatever the rest computes in: in half precision its weights overflow.

    Args:
        kind: `linear`; `mlp`: two linear maps with a GELU between (LLaVA 1.5); `prefix`: one linear map to several
            vectors, side by side in what it gives.
        inside: width of the states.
        width: of the language model (F).
        count: vectors that a state becomes, with `prefix`; the others give one.
    """

    def __init__(self, kind: ProjectorKind, inside: int, width: int, count: int = 4) -> None:
        super().__init__()
        self.count = count if kind == "prefix" else 1
        last = nn.Linear(width if kind == "mlp" else inside, self.count * width)
        self.maps = nn.Sequential(nn.Linear(inside, width), nn.GELU(), last) if kind == "mlp" else nn.Sequential(last)

    def forward(self, states: Float[Tensor, "B N D"]) -> Float[Tensor, "B K F"]:
        """The vectors of the first state, then those of the next."""
        with torch.autocast(states.device.type, enabled=False):
            found = self.maps(states.float())
        return found.unflatten(-1, (self.count, -1)).flatten(1, 2)
