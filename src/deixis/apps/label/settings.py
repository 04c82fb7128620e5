"""Settings of `deixis label`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

__all__ = ["LabelRows"]


@dataclasses.dataclass(frozen=True)
class LabelRows:
    """What is written beside the pictures.

    Attributes:
        triplets: write rows of three pictures to vote on instead: which of two looks more like the first.
        drafts: add a draft beside each picture without a caption, as `deixis caption` does; those of a run are
            written by `deixis caption --method run --model RUN`.
    """

    triplets: bool = False
    drafts: bool = False
