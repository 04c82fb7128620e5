"""The phases of a method: which parameters train in which."""

from __future__ import annotations

import sys
from typing import Any, TypeAlias

from torch import nn

from deixis.nn.frozen import is_frozen
from deixis.types import Card, Stage

__all__ = ["Method", "card_of", "enter", "name_of", "stages", "trainable"]

Method: TypeAlias = Any
"""A method as the type checker sees it: an `nn.Module` with the members its kind asks for. They share no other base."""


def card_of(method: nn.Module) -> Card:
    """The card in the file that a method comes from."""
    card: Card = sys.modules[type(method).__module__].CARD
    return card


def name_of(method: nn.Module) -> str:
    """The name of a method: that of the file it comes from."""
    return type(method).__module__.rpartition(".")[2]


def stages(method: Method) -> tuple[Stage, ...]:
    """The method's own stages, or the one that trains all that is not frozen."""
    return tuple(method.stages()) if hasattr(method, "stages") else (Stage(),)


def trainable(method: nn.Module, stage: Stage) -> dict[str, nn.Parameter]:
    """Name -> parameter of all that trains in `stage`: under one of its prefixes and not in a frozen part."""
    frozen = [f"{name}." for name, module in method.named_modules() if name and is_frozen(module)]
    return {
        name: parameter
        for name, parameter in method.named_parameters()
        if name.startswith(stage.trainable) and not name.startswith((*frozen, *card_of(method).non_gradient_state))
    }


def enter(method: nn.Module, stage: Stage) -> dict[str, nn.Parameter]:
    """Prepares `method` for `stage`: clears all gradients, sets what needs one, sets the modes.

    Returns:
        name -> parameter of all that trains now.
    """
    chosen = trainable(method, stage)
    for name, parameter in method.named_parameters():
        parameter.grad = None
        parameter.requires_grad_(name in chosen)
    method.train(stage.kind == "train")
    for name, module in method.named_modules():
        if stage.evaluate and name.startswith(stage.evaluate):
            module.eval()
    return chosen
