"""What can be set of `deixis claim`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["ClaimSettings"]


@dataclasses.dataclass(frozen=True)
class ClaimSettings:
    """How claims are tried.

    Attributes:
        seeds: reported runs of each arm; fewer than 5 give no verdict that is kept.
        arm: only these arms, for a look; nothing is kept.
        folder: where finished units, checkpoints and rows lie.
        small: a twentieth of the images, two seeds, no tuning: whether all works. Nothing is kept.
        record: add the rows to results/ of the repository, for which the code must be committed.
        jobs: runs at a time, each in a process of its own with its share of the cores; 0: one a core.
    """

    seeds: int = 5
    arm: tuple[str, ...] = ()
    folder: str = "runs/claims"
    small: bool = False
    record: bool = True
    jobs: int = 0
