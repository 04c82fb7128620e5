"""A stronger model than the starter, offered where there is a network."""

from __future__ import annotations

import torch

from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.console import Reporter
from deixis.errors import DeixisError
from deixis.zoo.hub import answers
from deixis.zoo.published import recommend

__all__ = ["offer_model"]


def offer_model(settings: AdaptSettings, talk: Reporter) -> None:
    """Names a published model that suits this machine, where the starter is taken and the hub can be reached.

    Args:
        settings: of the run.
        talk: says it.
    """
    if settings.model != AdaptSettings().model or talk.quiet:
        return
    try:
        model = recommend("adapt", gpu=torch.cuda.is_available())
    except DeixisError:  # none fits into the memory
        return
    if answers(model.repository, "README.md"):
        talk.say(
            f"The starter is used, which needs no hub. A stronger model that suits this machine: --model {model.name} "
            f"({model.about()}). `deixis list models` shows all."
        )
