"""Settings of `deixis words`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

from deixis.apps.common.options import ComputeSettings

__all__ = ["LEARNS", "WordsSettings"]

LEARNS = "imaginator"
"""The method that learns what words go with, and look like."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WordsSettings(ComputeSettings):
    """What is learned, and from which tags.

    Attributes:
        model: name or folder of the model whose image tower says what pictures look like.
        tags: column with the tags, separated by commas or semicolons; by default `tags` or `keywords`.
        least: pictures that a tag must have to count.
        most: tags that count, the commonest first.
        by: what missing tags are suggested by: `company` (tags that go together), `looks`, `joint` (both, IMAGINATOR),
            `nearest` (tags of similar pictures), or `auto`: the best of these on held-back tags.
        crops: of a picture whose data has boxes, the mean of what stands in them says what it looks like, in place of
            the whole picture; pictures without boxes stay whole.
        suggestions: suggested tags for each picture, at the most.
        seed: of the split and of training.
    """

    model: str = "starter"
    tags: str = ""
    least: int = 3
    most: int = 2000
    by: Literal["auto", "joint", "company", "looks", "nearest"] = "auto"
    crops: bool = False
    suggestions: int = 3
    seed: int = 0
