"""How a learning rate changes over a run, as a factor on its peak."""

from __future__ import annotations

import math
from typing import Literal, get_args

__all__ = ["Schedule", "rate"]

Schedule = Literal["constant", "cosine", "linear"]


def rate(schedule: Schedule, step: int, total: int, warmup: int = 0) -> float:
    """The factor at a step: it rises in equal steps to 1 over `warmup`, and then stays, or falls to 0 at the end.

    >>> [rate("linear", step, 6, warmup=2) for step in range(6)]
    [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]

    Args:
        schedule: what follows the warm-up: `constant`, `cosine` (half a wave) or `linear`.
        step: steps done, from 0.
        total: steps of the run.
        warmup: steps of the rise.

    Raises:
        ValueError: there is no such schedule.
    """
    if schedule not in get_args(Schedule):
        raise ValueError(f"there is no schedule {schedule!r}: choose {', '.join(get_args(Schedule))}.")
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
