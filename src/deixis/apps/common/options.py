"""How DATA is read: flags of all commands that read it. Does not import torch."""

from __future__ import annotations

import dataclasses

__all__ = ["Reading"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How DATA is read.

    Attributes:
        path_column: column of a table with the image paths; by default recognised by its name.
        caption_column: column with the captions.
        label_column: column with the class labels.
        group: column with the same value for images of one thing; splits keep them together.
        names_as_captions: use file names as captions.
    """

    path_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    group: str | None = None
    names_as_captions: bool = False
