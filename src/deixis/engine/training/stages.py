"""What a method is, as its card says, and the phases of its training: which parameters train in which."""

from __future__ import annotations

import dataclasses
import sys
from typing import TypeGuard, TypeVar

from torch import nn

from deixis.errors import DeixisError
from deixis.nn.frozen import is_frozen
from deixis.types import CAPABILITIES, Card, SampleSpec, Stage, ViewSpec
from deixis.types.protocols import AnyMethod, HasConfig, HasFinish, HasStages, TrainedMethod

__all__ = [
    "card_of",
    "config_specs",
    "enter",
    "group_size",
    "name_of",
    "offers",
    "same_column",
    "stage_batch",
    "stages",
    "trainable",
    "trained",
]

T = TypeVar("T", ViewSpec, SampleSpec)

C = TypeVar("C")


def card_of(method: object) -> Card:
    """The card in the file that a method comes from."""
    card: Card = sys.modules[type(method).__module__].CARD
    return card


def name_of(method: object) -> str:
    """The name of a method: that of the file it comes from."""
    return type(method).__module__.rpartition(".")[2]


def offers(method: object, capability: type[C]) -> TypeGuard[C]:
    """Whether the card of a method lists a capability; what a method only inherits, it does not offer.

    Args:
        method: of any kind.
        capability: one of the Protocols `Offers...` of `deixis.types.protocols`.
    """
    names = {name for name in CAPABILITIES if hasattr(capability, name)}
    return names <= set(card_of(method).capabilities)


def trained(method: AnyMethod) -> TrainedMethod:
    """The method itself, if it is one that trains.

    Raises:
        DeixisError: it has no gradient steps.
    """
    if card_of(method).kind != "trained" or not isinstance(method, TrainedMethod):
        raise DeixisError(
            f"{name_of(method)} is {card_of(method).kind}: it has no gradient steps.",
            "`deixis list` shows the trained methods.",
        )
    return method


def stages(method: AnyMethod) -> tuple[Stage, ...]:
    """The method's own stages, or the one that its kind implies: to train all that is not frozen, to read the
    data once, or none where there is nothing to build."""
    if isinstance(method, HasStages):
        return tuple(method.stages())
    if card_of(method).kind == "trained":
        return (Stage(),)
    return (Stage(kind="fit"),) if isinstance(method, HasFinish) else ()


def config_specs(method: object, kind: type[T]) -> list[T]:
    """The fields of the config that are of this kind."""
    config = method.config if isinstance(method, HasConfig) else None
    fields = dataclasses.fields(config) if dataclasses.is_dataclass(config) else ()
    values = [getattr(config, each.name) for each in fields]
    return [value for value in values if isinstance(value, kind)]


def group_size(method: object) -> int:
    """How many samples of one group the method wants side by side in its batches."""
    return max([1, *(spec.group for spec in config_specs(method, SampleSpec))])


def same_column(method: object) -> str:
    """The column whose value all samples of a batch of the method share; empty: batches are mixed."""
    return next((spec.same for spec in config_specs(method, SampleSpec) if spec.same), "")


def stage_batch(size: int, stage: Stage, group: int = 1) -> int:
    """Samples a step of a stage, whole groups of them: its share of the run's batch.

    Args:
        size: of the run's batches.
        stage: of the method.
        group: samples that stay side by side.
    """
    return max(1, round(size * stage.batch / group)) * group


def trainable(method: AnyMethod, stage: Stage) -> dict[str, nn.Parameter]:
    """Name -> parameter of all that trains in `stage`: under one of its prefixes and not in a frozen part."""
    frozen = [f"{name}." for name, module in method.named_modules() if name and is_frozen(module)]
    return {
        name: parameter
        for name, parameter in method.named_parameters()
        if name.startswith(stage.trainable) and not name.startswith((*frozen, *card_of(method).non_gradient_state))
    }


def enter(method: AnyMethod, stage: Stage) -> dict[str, nn.Parameter]:
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
