"""Settings of `deixis ground`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings

__all__ = ["GroundSettings"]


@dataclasses.dataclass(frozen=True)
class GroundSettings(ComputeSettings):
    """What locates, and how many boxes it gives.

    Attributes:
        model: run folder whose method offers `ground`, or `answer_mask` for questions; by default the detector and the
            starter, which need no training.
        boxes: file with boxes of the pictures, in COCO's form as --out writes it: phrases then choose among these, by a
            run whose method does that.
        count: boxes per phrase at the most; by default what the phrase says: "a dog" one, "two dogs" two, "dogs" all.
        best: show the nearest box also where nothing is found.
    """

    model: str = ""
    boxes: str = ""
    count: int = 0
    best: bool = False
