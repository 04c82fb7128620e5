"""What can be set of `deixis ground`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["GroundSettings"]


@dataclasses.dataclass(frozen=True)
class GroundSettings:
    """By what is grounded, and how much is wanted.

    Attributes:
        model: the folder of a run whose method offers `ground`.
        count: boxes a phrase at the most.
    """

    model: str = ""
    count: int = 1
