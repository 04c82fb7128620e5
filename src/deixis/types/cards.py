"""What a file that is one of a kind declares of itself, as a literal: a data set, the task of a claim. Read without
torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["DatasetCard", "TaskCard"]


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


@dataclasses.dataclass(frozen=True)
class TaskCard:
    """The task of a claim, where its arms meet: a file in `engine/claims/tasks` declares it as `TASK`.

    Attributes:
        title: one line.
        metrics: what a claim may be measured by there; more is better.
        axis: what learning curves run over; empty: images seen.
        own_networks: whether each seed has a network that arms do not train, so that what is best for one need not be
            for another.
        passes: modules that arms pass through there and that the file does not import by name.
    """

    title: str
    metrics: tuple[str, ...]
    axis: str = ""
    own_networks: bool = False
    passes: tuple[str, ...] = ()
