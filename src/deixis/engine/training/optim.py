"""What a method's `OptimSpec` stands for: groups of parameters, the optimiser, and the learning rates of each step."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from deixis.engine.training.stages import card_of, name_of
from deixis.errors import DeixisError
from deixis.nn.blocks import layer_numbers
from deixis.nn.dual import DualEncoder
from deixis.ops.schedules import rate
from deixis.ops.sharding import split_groups
from deixis.types import OptimGroup, OptimSpec, Progress
from deixis.types.optim import Schedule
from deixis.types.protocols import AnyMethod, HasConfig, HasRate

__all__ = ["make_optimiser", "optim_spec", "parameter_groups", "set_rates"]


def optim_spec(method: AnyMethod) -> OptimSpec:
    """The field `optim` of the method's config; the defaults where it has none.

    Raises:
        DeixisError: the method has a schedule of its own and the spec another, or a group names no parameter.
    """
    config = method.config if isinstance(method, HasConfig) else None
    spec: OptimSpec = getattr(config, "optim", None) or OptimSpec()
    parts: tuple[OptimSpec | OptimGroup, ...] = (spec, *spec.groups)
    if isinstance(method, HasRate) and any(each.warmup or each.schedule not in (None, "constant") for each in parts):
        raise DeixisError(
            f"{name_of(method)} has a schedule of its own, and another one is requested.",
            "Leave optim.schedule and optim.warmup as they are.",
        )
    names = [name for name, _ in method.named_parameters()]
    for group in spec.groups:
        if not any(name.startswith(group.prefix) for name in names):
            raise DeixisError(
                f"A group of optim is for {group.prefix!r}, and no parameter's name begins so.",
                f"Names begin with {', '.join(dict.fromkeys(name.partition('.')[0] for name in names))}.",
            )
    return spec


def make_optimiser(method: AnyMethod, trained: Mapping[str, nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser of the method's config.

    Args:
        method: whose config says how.
        trained: name -> parameter of all that trains now, see `deixis.engine.enter`.

    Raises:
        DeixisError: see `optim_spec`.
    """
    spec = optim_spec(method)
    groups = split_groups(parameter_groups(method, trained, spec))
    peak, momentum, nesterov = spec.learning_rate, spec.momentum, spec.nesterov
    eps = spec.eps or (1e-6 if spec.optimiser == "lamb" else 1e-8)
    if spec.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=peak, momentum=momentum, nesterov=nesterov)
    if spec.optimiser == "lars":
        from timm.optim.lars import Lars

        return Lars(groups, lr=peak, momentum=momentum, nesterov=nesterov, eps=eps)
    if spec.optimiser == "lamb":
        from timm.optim.lamb import Lamb

        return Lamb(groups, lr=peak, betas=spec.betas, eps=eps, max_grad_norm=None)
    # Fused: one pass over the weights; up to a sixth of a step.
    return torch.optim.AdamW(groups, lr=peak, betas=spec.betas, eps=eps, fused=True)


def parameter_groups(method: AnyMethod, trained: Mapping[str, nn.Parameter], spec: OptimSpec) -> list[dict[str, Any]]:
    """Groups for an optimiser, those that are decayed first; each has its rate at the peak and its schedule beside.

    Args:
        method: whose parameters they are.
        trained: name -> parameter of all that trains now.
        spec: how.
    """
    scales = _layer_scales(method, spec.layer_decay)
    rest, grouped = OptimGroup(""), dict[tuple[OptimGroup, float, float], list[nn.Parameter]]()
    for name, parameter in trained.items():
        own = next((group for group in spec.groups if name.startswith(group.prefix)), rest)
        decay = spec.weight_decay if own.weight_decay is None else own.weight_decay
        decayed = (spec.decay_1d or parameter.dim() > 1) and not name.endswith(spec.no_decay)
        scale = own.scale * scales.get(name, 1.0)
        grouped.setdefault((own, scale, decay if decayed else 0.0), []).append(parameter)
    # What has the rate that the spec names comes first, as the first group's is the one that is reported.
    order = sorted(grouped.items(), key=lambda group: (group[0][1] != 1, -group[0][2]))
    return [
        {
            "params": held,
            "lr": spec.learning_rate * scale,
            "weight_decay": decay,
            "peak": spec.learning_rate * scale,
            "schedule": _schedule(spec, own),
            "decays": _decays(spec, own, decay),
        }
        for (own, scale, decay), held in order
    ]


def set_rates(optimiser: torch.optim.Optimizer, method: AnyMethod, progress: Progress) -> None:
    """Sets the learning rates of a step, and the weight decay where that has a schedule, too.

    Args:
        optimiser: as `make_optimiser` gives it.
        method: with a `rate` of its own where its paper has a schedule that `OptimSpec` does not know.
        progress: where in the run.
    """
    own = method.rate(progress) if isinstance(method, HasRate) else None
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * (group["schedule"](progress) if own is None else own)
        if group["decays"] is not None:
            group["weight_decay"] = group["decays"](progress)


def _schedule(spec: OptimSpec, group: OptimGroup) -> functools.partial[float]:
    schedule = spec.schedule if group.schedule is None else group.schedule
    warmup = spec.warmup if group.warmup is None else group.warmup
    floor = spec.floor if group.floor is None else group.floor
    return functools.partial(_factor, schedule, warmup, floor, spec.milestones, spec.gamma)


def _decays(spec: OptimSpec, group: OptimGroup, decay: float) -> functools.partial[float] | None:
    """The schedule of a group's weight decay; None where it stays."""
    if spec.final_weight_decay is None or group.weight_decay is not None or not decay:
        return None
    return functools.partial(_decay, decay, spec.final_weight_decay)


def _decay(start: float, end: float, progress: Progress) -> float:
    return end + (start - end) * rate("cosine", progress.step, progress.total)


def _factor(
    schedule: Schedule,
    warmup: int | float,
    floor: float,
    milestones: tuple[int | float, ...],
    gamma: float,
    progress: Progress,
) -> float:
    rise, *turns = (_steps(each, progress.total) for each in (warmup, *milestones))
    return rate(schedule, progress.step, progress.total, rise, floor, turns, gamma)


def _steps(number: int | float, total: int) -> int:
    """A number of steps that may be given as a share of all."""
    return round(number * total) if number < 1 else int(number)


def _layer_scales(method: AnyMethod, decay: float) -> dict[str, float]:
    """Name -> factor on the learning rate of each parameter in a tower, falling from its last layer to its first."""
    if decay == 1:
        return {}
    found: dict[str, float] = {}
    for part in card_of(method).parts:
        held = getattr(method, part.name, None)
        for each in (held,) if isinstance(held, nn.Module) else ():
            towers = ("image_tower.", "text_tower.") if isinstance(each, DualEncoder) else ("",)
            for tower in towers:
                numbers = layer_numbers(each.get_submodule(tower[:-1]))
                last = max(numbers.values(), default=0)
                found |= {f"{part.name}.{tower}{name}": decay ** (last - i) for name, i in numbers.items()}
    return found
