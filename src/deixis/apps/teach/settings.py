"""Settings of `deixis teach`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings

__all__ = ["TeachSettings"]


@dataclasses.dataclass(frozen=True)
class TeachSettings(ComputeSettings):
    """How a concept is learned.

    Attributes:
        method: that learns it; one whose classes are directions in the space of the run's model.
        negatives: images of the run that it is told apart from.
        folds: parts into which the pictures are cut, each of which is held out once.
        epochs: of learning, over the pictures and these images; 0: the method's own.
        seed: of what the method draws.
    """

    method: str = "cones"
    negatives: int = 192
    folds: int = 5
    epochs: int = 0
    seed: int = 0
