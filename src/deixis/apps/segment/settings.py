"""Settings of `deixis segment`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings

__all__ = ["AUTO", "AUTO_NAME", "SegmentSettings"]

AUTO_NAME = "auto"

AUTO = "outlined_boxes"
"""What `auto` stands for: the best on scenes of photographic stamps (`python -m bench.segment_rows`)."""


@dataclasses.dataclass(frozen=True)
class SegmentSettings(ComputeSettings):
    """What names the pixels.

    Attributes:
        model: run folder whose method offers `segment`; or one of `deixis index` or `deixis adapt`, whose model then
            reads the classes, with what it was taught in angle brackets: "<my mug>". By default a method that needs no
            training.
        method: the method where no model is named: any that offers `segment` without training, see `deixis list`; auto
            is the best on generated scenes of photographs.
        sampler: support pictures of methods that learn classes from these: set:stamps, set:art4apps, a folder with
            captions, or scenes.
        stuff: those of the classes that are no things (grass, sky): what surrounds them in support pictures is not
            learned as background; of methods that learn classes from such pictures.
    """

    model: str = ""
    method: str = AUTO_NAME
    sampler: str = ""
    stuff: tuple[str, ...] = ()
