"""What a file that is one of a kind declares of itself, as a literal: a data set. Plain Python, read without torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["DatasetCard"]


@dataclasses.dataclass(frozen=True)
class DatasetCard:
    """A named data set: a file in `data/datasets` declares it as `DATASET`.

    Attributes:
        title: one line.
        licence: of the data.
        how: the package client that brings it, or `generated`: made from other sets when it is read.
        size_mb: what is downloaded.
        fields: what its samples have beside the image: `captions`, `labels`, `boxes`, `masks`, `phrases`, `questions`.
        parts: what may follow `set:NAME/`.
    """

    title: str
    licence: str
    how: Literal["apt", "npm", "pip", "generated"]
    size_mb: int = 0
    fields: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
