"""Why the starter is adapted, and a stronger model than it, offered where there is a network."""

from __future__ import annotations

import torch

from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.errors import DeixisError
from deixis.zoo.hub import answers
from deixis.zoo.published import recommend

__all__ = ["offer_model"]

_WHY = (
    "The starter is adapted, since on the part of the stamps that the demo chooses settings on it finds more than "
    "desk-clip does, which was trained on drawings alone; of drawings desk-clip (--model desk-clip) finds more. "
    "docs/desk_clip.md has both in figures."
)


def offer_model(settings: AdaptSettings, talk: Reporter) -> None:
    """Says why the starter is adapted where no model was named, and names a published one that suits this machine where
    the hub can be reached.

    Args:
        settings: of the run.
        talk: says it.
    """
    if settings.model != AdaptSettings().model or talk.quiet:
        return
    talk.say(_WHY)
    try:
        model = recommend("adapt", gpu=torch.cuda.is_available())
    except DeixisError:  # none fits into the memory
        return
    if answers(model.repository, "README.md"):
        talk.say(
            f"The starter needs no hub. A stronger model that suits this machine: --model {model.name} "
            f"({model.about()}). `deixis list models` shows all."
        )
