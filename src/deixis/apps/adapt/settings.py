"""What can be set of `deixis adapt`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses

__all__ = ["AdaptSettings", "overrides"]


@dataclasses.dataclass(frozen=True)
class AdaptSettings:
    """How the main job runs.

    Attributes:
        model: what is adapted: a name (`starter`) or a model folder.
        method: how: one that adapts the model (`residual`; `deixis list` shows them), or one that learns the classes
            of labelled images: zero_shot, linear, tip, delta, coop, cocoop, pre, or auto, which chooses.
        shots: images a class that are learned from, by methods that learn classes.
        templates: sentences around a class name, {} where it goes, for those that read them.
        splits: how many concept-disjoint splits report.
        train: share of the samples that train in each.
        seed: of splits, folds and training.
        controls: also run the controls, which must learn nothing.
        layers: for methods that train the towers, which weights: `last` (the last blocks), `all` or `lora`; empty
            takes the method's own choice.
    """

    model: str = "starter"
    method: str = "residual"
    shots: int = 16
    templates: tuple[str, ...] = ()
    splits: int = 5
    train: float = 0.6
    seed: int = 0
    controls: bool = True
    layers: str = ""


def overrides(settings: AdaptSettings) -> dict[str, str]:
    """The settings of the method that a user has changed."""
    return {"layers": settings.layers} if settings.layers else {}
