"""Settings of `deixis adapt`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses

from deixis.apps.common.options import ComputeSettings
from deixis.errors import DeixisError

__all__ = ["TASKS", "AdaptSettings", "check_splits", "overrides", "with_splits"]

TASKS = ("", "segment")
"""What masks or boxes may teach; the first is as the data says."""

_MANY, _FEW = 20, 5


@dataclasses.dataclass(frozen=True)
class AdaptSettings(ComputeSettings):
    """How a model is adapted and measured.

    Attributes:
        model: the model to adapt: a name (`starter`) or a model folder; of boxes with phrases also the run of a method
            that draws boxes, such as `mdetr`, which is compared as it is.
        method: a method that adapts the model, such as `residual`; a method that learns the classes of labelled images;
            or `auto`, which chooses one of the latter, or, of images that have boxes with phrases, whether these
            improve what `deixis ground` answers. See `deixis list`.
        task: what masks or boxes are to teach: segment, the classes of pixels, for `deixis segment`; by default boxes
            with phrases teach what `deixis ground` answers.
        votes: csv of votes on what looks alike (reference, left, right, vote), to which the image side is adapted
            instead of to captions or labels; DATA are the pictures to search then.
        about: columns of a table, such as kind, colour and material, in whose values pictures may be alike: instead of
            adapting the model it is learned how to compare pictures in each, for `deixis search`.
        shots: training images per class, for methods that learn classes.
        templates: prompts for a class name, which replaces {}, for methods that learn classes.
        knowledge: what classes are, in words, for methods that read it (described, kapt, gist): wordnet, glosses,
            emoji, kinds, templates, captions:DATA, about (a file about.txt in each class folder), or a csv (class,
            text).
        accept: take drafts that `deixis caption` wrote as captions where the chance that they are right is this or
            more; 0: only what was put into the column of captions.
        splits: number of divisions into training and held-out concepts; 0 takes 20, or 5 for methods that train the
            towers or learn classes.
        train: fraction of the samples that each split trains on.
        seed: random seed of splits, folds and training.
        controls: also run the negative controls, such as shuffled captions, which must show no gain.
        layers: for methods that train the towers, which weights: `last` (the last blocks), `all` or `lora` (low-rank
            updates); by default the method's own choice.
    """

    model: str = "starter"
    method: str = "residual"
    task: str = ""
    votes: str = ""
    about: tuple[str, ...] = ()
    shots: int = 16
    templates: tuple[str, ...] = ()
    knowledge: str = ""
    accept: float = 0.0
    splits: int = 0
    train: float = 0.6
    seed: int = 0
    controls: bool = True
    layers: str = ""


def overrides(settings: AdaptSettings) -> dict[str, str]:
    """The settings of the method that the user has changed."""
    return {"layers": settings.layers} if settings.layers else {}


def with_splits(settings: AdaptSettings, slow: bool) -> AdaptSettings:
    """The settings with a number of divisions: the one requested, else the default.

    Args:
        settings: of the run.
        slow: whether one training takes long.
    """
    return dataclasses.replace(settings, splits=settings.splits or (_FEW if slow else _MANY))


def check_splits(settings: AdaptSettings) -> None:
    """Makes sure that intervals can be made from the splits.

    Raises:
        DeixisError: they can't.
    """
    if settings.splits == 1 or settings.splits < 0:
        raise DeixisError(f"{settings.splits} split was requested.", "Intervals need at least --splits 2.")
    if not 0 < settings.train < 1:
        raise DeixisError(f"A share of {settings.train} was requested to train on.", "Give a fraction between 0 and 1.")
    if settings.seed < 0:
        raise DeixisError(f"The seed is {settings.seed}.", "Give --seed 0 or more.")
