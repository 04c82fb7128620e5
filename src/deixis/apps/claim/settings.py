"""Settings of `deixis claim`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

__all__ = ["ClaimSettings"]


@dataclasses.dataclass(frozen=True)
class ClaimSettings:
    """How claims are tested.

    Attributes:
        seeds: number of runs of each arm; with fewer than 5 the verdict is not stored.
        missing: of a paper, test only the claims that --all would test.
        arm: run only these arms (methods that are compared); nothing is stored.
        folder: folder for finished runs, checkpoints and result rows.
        small: quick check with a twentieth of the images, two seeds and no tuning; nothing is stored.
        record: append the rows to results/ of the repository; the code must be committed.
        minutes: stop in order after so many minutes; finished runs are stored in results/units.jsonl, and the same
            command goes on from them, on any machine. Without it, all is run.
        jobs: number of runs in parallel, each in its own process; 0: one per core.
    """

    seeds: int = 5
    missing: bool = False
    arm: tuple[str, ...] = ()
    folder: str = "runs/claims"
    small: bool = False
    record: bool = True
    minutes: float | None = None
    jobs: int = 0
