"""Settings of `deixis ground`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

__all__ = ["GroundSettings"]


@dataclasses.dataclass(frozen=True)
class GroundSettings:
    """The model, and how many boxes it gives.

    Attributes:
        model: run folder whose method offers `ground`.
        count: maximum number of boxes per phrase.
    """

    model: str = ""
    count: int = 1
