"""Settings of `deixis ground`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.predict.settings import PredictSettings

__all__ = ["GroundSettings"]


@dataclasses.dataclass(frozen=True)
class GroundSettings(PredictSettings):
    """How many boxes it gives.

    Attributes:
        count: maximum number of boxes per phrase.
    """

    count: int = 1
