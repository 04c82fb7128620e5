"""How DATA is read: the flags that all verbs which read it have. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["Reading"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How DATA is read.

    Attributes:
        path_column: the column of a table that holds the image paths; found by its name where not told.
        caption_column: the column that holds the captions.
        label_column: the column that holds the classes.
        group: the column that tells which images show one thing.
        names_as_captions: take file names as captions.
    """

    path_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    group: str | None = None
    names_as_captions: bool = False
