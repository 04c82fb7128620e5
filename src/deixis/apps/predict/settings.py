"""Settings of the verbs that run a method over pictures: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings

__all__ = ["PredictSettings"]


@dataclasses.dataclass(frozen=True)
class PredictSettings(ComputeSettings):
    """The model.

    Attributes:
        model: run folder whose method offers what is requested; `deixis list` lists the methods.
    """

    model: str = ""
