"""Settings of the verbs that run a method over pictures: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings

__all__ = ["PredictOutput", "PredictSettings"]


@dataclasses.dataclass(frozen=True)
class PredictSettings(ComputeSettings):
    """The model.

    Attributes:
        model: run folder whose method offers what is requested; `deixis list` lists the methods.
    """

    model: str = ""


@dataclasses.dataclass(frozen=True)
class PredictOutput:
    """Where predictions go.

    Attributes:
        out: .csv file, .json file (of boxes), .png file (of one picture), or folder for a csv and a picture of each.
        overwrite: replace existing files.
        quiet: print nothing.
    """

    out: str = ""
    overwrite: bool = False
    quiet: bool = False
