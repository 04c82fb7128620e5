"""A copy of a module whose weights follow those of the module, as their moving average."""

from __future__ import annotations

import copy
import math
from typing import Any, Literal

import torch
from torch import nn

__all__ = ["MovingAverage", "momentum_at"]


def momentum_at(step: int, total: int, base: float) -> float:
    """Share of an average that stays: from `base` at the start to 1 at the end, by half a cosine."""
    return 1 - (1 - base) * (math.cos(math.pi * step / total) + 1) / 2


class MovingAverage(nn.Module):
    """An average of a module's parameters over time: average <- m * average + (1 - m) * module.

    It is called like the module, and its parameters need no gradient.

    Args:
        module: that is followed; copied as it is, and not held.
        buffers: `own`: the average has its own, such as the statistics of batch norms, and the mode of whatever holds
            it: it takes part in training. `copy`: with each update they are those of the module, and the average stays
            in eval mode: it is what is used in the end.
    """

    def __init__(self, module: nn.Module, buffers: Literal["own", "copy"] = "own") -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self._buffers_are = buffers
        self.train(module.training)

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the averaged module gives."""
        return self.module(*args, **options)

    def train(self, mode: bool = True) -> MovingAverage:
        """Sets the mode, where its buffers are its own."""
        return super().train(mode and self._buffers_are == "own")

    @torch.no_grad()
    def update(self, module: nn.Module, momentum: float) -> None:
        """Moves the average towards the module.

        Args:
            module: as it is now, of the same layout.
            momentum: share of the average that stays (m).
        """
        for average, now in zip(self.module.parameters(), module.parameters(), strict=True):
            average.lerp_(now.to(average), 1 - momentum)
        if self._buffers_are == "copy":
            for buffer, latest in zip(self.module.buffers(), module.buffers(), strict=True):
                buffer.copy_(latest)
