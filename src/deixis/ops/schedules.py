"""How a learning rate changes over a run, as a factor on its peak."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import get_args

from deixis.types.optim import Schedule

__all__ = ["rate"]


def rate(
    schedule: Schedule,
    step: int,
    total: int,
    warmup: int = 0,
    floor: float = 0.0,
    milestones: Sequence[int] = (),
    gamma: float = 0.1,
) -> float:
    """The factor at a step: it rises in equal steps to 1 over `warmup`, and then stays or falls.

    >>> [rate("linear", step, 6, warmup=2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    >>> [rate("step", step, 6, milestones=(2, 4), gamma=0.5) for step in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]

    Args:
        schedule: what follows the warm-up: `constant`, `cosine` (half a wave), `linear`, or `step`.
        step: steps done, from 0.
        total: steps of the run.
        warmup: steps of the rise.
        floor: what `cosine` and `linear` have fallen to at the end of the run.
        milestones: of `step`: the steps from which on one more `gamma` counts.
        gamma: of `step`.

    Raises:
        ValueError: there is no such schedule.
    """
    if schedule not in get_args(Schedule):
        raise ValueError(f"there is no schedule {schedule!r}: choose {', '.join(get_args(Schedule))}.")
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    if schedule == "step":
        return float(gamma ** sum(step >= milestone for milestone in milestones))
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    factor = 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
    return floor + (1 - floor) * factor
