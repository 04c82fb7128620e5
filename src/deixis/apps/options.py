"""What a user can set: dataclasses whose fields are the flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["Reading", "Settings", "overrides"]


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


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the main job runs.

    Attributes:
        model: what is adapted: a name (`starter`) or a model folder.
        method: how; `deixis list` shows the methods that offer adapters.
        splits: how many concept-disjoint splits report.
        train: share of the samples that train in each.
        seed: of splits, folds and training.
        controls: also run the controls, which must learn nothing.
        layers: for methods that train the towers, which weights: `last` (the last blocks), `all` or `lora`; empty
            takes the method's own choice.
    """

    model: str = "starter"
    method: str = "residual"
    splits: int = 5
    train: float = 0.6
    seed: int = 0
    controls: bool = True
    layers: str = ""


def overrides(settings: Settings) -> dict[str, str]:
    """The settings of the method that a user has changed."""
    return {"layers": settings.layers} if settings.layers else {}
