"""How a method is optimised, as a plain literal: readable without importing torch."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

from deixis.errors import DeixisError

__all__ = ["OptimGroup", "OptimSpec", "Optimiser", "Schedule"]

Optimiser = Literal["adamw", "sgd", "lars", "lamb"]
Schedule = Literal["constant", "cosine", "linear", "step"]


@dataclasses.dataclass(frozen=True)
class OptimGroup:
    """Parameters that are optimised otherwise than the rest; what is None is as in the `OptimSpec`.

    Attributes:
        prefix: of the names of the parameters.
        scale: factor on the learning rate.
        weight_decay: of those that are decayed.
        schedule: as in `OptimSpec`, and so is what follows.
        warmup: as there.
        floor: as there.
    """

    prefix: str
    scale: float = 1.0
    weight_decay: float | None = None
    schedule: Schedule | None = None
    warmup: int | float | None = None
    floor: float | None = None

    def __post_init__(self) -> None:
        _check_numbers(self, ("scale", "weight_decay"))
        _check_schedule(self)


@dataclasses.dataclass(frozen=True)
class OptimSpec:
    """How a method is optimised: the field `optim` of its Config, which the engine applies.

    Attributes:
        optimiser: `adamw` and `sgd` are torch's, `lars` and `lamb` timm's.
        learning_rate: at its peak.
        weight_decay: decoupled in AdamW, else added to the gradient (to the update in LAMB).
        final_weight_decay: what the decay has become at the end of the run, from `weight_decay` on by half a cosine;
            None: it stays. Groups with a decay of their own keep that.
        decay_1d: whether gains, biases and whatever else has one axis or none are decayed, too.
        no_decay: further parameters that are not decayed, by their names or the ends of these.
        betas: of AdamW and LAMB.
        eps: added to denominators; 0: as torch and timm have it, 1e-6 in LAMB and 1e-8 elsewhere.
        momentum: of SGD and LARS.
        nesterov: whether that momentum is Nesterov's.
        schedule: of the learning rate behind its warm-up: `constant`, `cosine` (half a wave), `linear`, or `step`.
        warmup: steps over which the learning rate rises from 0; below 1, their share of all steps.
        floor: share of the peak that `cosine` and `linear` end at.
        milestones: of `step`: steps from which on the rate is multiplied once more; below 1, shares of all steps.
        gamma: of `step`: what it is multiplied by.
        groups: parameters with a rate, decay or schedule of their own; of several prefixes the first that fits counts.
        layer_decay: factor on the learning rate from each layer of a tower to the one before; 1: all layers are equal.
        clip: what the norm of all gradients together is held to; 0: they stay as they are.
    """

    optimiser: Optimiser = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    final_weight_decay: float | None = None
    decay_1d: bool = False
    no_decay: tuple[str, ...] = ()
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 0.0
    momentum: float = 0.9
    nesterov: bool = False
    schedule: Schedule = "constant"
    warmup: int | float = 0
    floor: float = 0.0
    milestones: tuple[int | float, ...] = ()
    gamma: float = 0.1
    groups: tuple[OptimGroup, ...] = ()
    layer_decay: float = 1.0
    clip: float = 0.0

    def __post_init__(self) -> None:
        if self.optimiser not in get_args(Optimiser):
            raise DeixisError(f"There is no optimiser {self.optimiser!r}.", f"Choose {_one_of(Optimiser)}.")
        _check_numbers(
            self, ("learning_rate", "weight_decay", "final_weight_decay", "eps", "momentum", "gamma", "clip")
        )
        _check_schedule(self)
        if not all(0 <= beta < 1 for beta in self.betas):
            raise DeixisError(f"The betas are {self.betas}.", "Give two numbers from 0 to below 1.")
        if self.final_weight_decay is not None and not self.weight_decay:
            raise DeixisError(
                f"weight_decay is 0 and final_weight_decay {self.final_weight_decay}.",
                "Give a weight_decay above 0 to begin with: at 0 nothing is decayed.",
            )
        if not 0 < self.layer_decay <= 1:
            raise DeixisError(f"layer_decay is {self.layer_decay}.", "Give a factor above 0, at most 1.")
        if self.nesterov and not self.momentum:
            raise DeixisError("nesterov is set, and momentum is 0.", "Give a momentum, such as 0.9.")
        if ("step" in (self.schedule, *(group.schedule for group in self.groups))) != bool(self.milestones):
            raise DeixisError(
                f"The schedule is {self.schedule!r} with the milestones {self.milestones}.",
                "Give the schedule step and at least one milestone, or neither.",
            )


def _check_numbers(spec: OptimSpec | OptimGroup, names: tuple[str, ...]) -> None:
    for name in names:
        value = getattr(spec, name)
        if value is not None and not value >= 0:
            raise DeixisError(f"{name} is {value!r}.", "Give a number, 0 or more.")


def _check_schedule(spec: OptimSpec | OptimGroup) -> None:
    if spec.schedule is not None and spec.schedule not in get_args(Schedule):
        raise DeixisError(f"There is no schedule {spec.schedule!r}.", f"Choose {_one_of(Schedule)}.")
    if spec.warmup is not None and not (0 <= spec.warmup < 1 or spec.warmup == int(spec.warmup) >= 1):
        raise DeixisError(f"warmup is {spec.warmup}.", "Give a whole number of steps, or a share below 1.")
    if spec.floor is not None and not 0 <= spec.floor <= 1:
        raise DeixisError(f"floor is {spec.floor}.", "Give a share of the learning rate, from 0 to 1.")


def _one_of(choices: Any) -> str:
    *most, last = get_args(choices)
    return f"{', '.join(most)} or {last}"
