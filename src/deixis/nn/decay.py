"""Which weights are decayed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

__all__ = ["decay_groups"]


def decay_groups(
    module: nn.Module, weight_decay: float, *, lr: float, rates: Mapping[str, float] | None = None, **shared: Any
) -> list[dict[str, Any]]:
    """Groups for an optimiser of all that trains: what is decayed, and what is not, which is gains, biases and whatever
    else has one axis or none.

    Args:
        module: whose parameters train where they require a gradient.
        weight_decay: of what is decayed.
        lr: the learning rate.
        rates: prefix of names -> factor on the learning rate of what they name; groups of their own.
        **shared: further settings of all groups.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            factor = next((each for prefix, each in (rates or {}).items() if name.startswith(prefix)), 1.0)
            key = (lr * factor, weight_decay if parameter.dim() > 1 else 0.0)
            groups.setdefault(key, []).append(parameter)
    decayed_first = sorted(groups.items(), key=lambda group: -group[0][1])
    return [{"params": held, "lr": rate, "weight_decay": decay, **shared} for (rate, decay), held in decayed_first]
