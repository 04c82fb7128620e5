"""The state of a method on disk: everything but its frozen parts; and that of a training run, to go on from."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.nn.frozen import is_frozen
from deixis.ops.sharding import fill, gathered
from deixis.types.protocols import AnyMethod, HasTakeSizes

__all__ = ["load_facts", "load_state", "load_training", "save_state", "save_training", "state"]

_FACTS = "deixis"
_METHOD, _OPTIMISER, _STEP = "method.", "optimiser.", "step"
_Path = str | os.PathLike[str]
M = TypeVar("M", bound=AnyMethod)


def state(method: AnyMethod) -> dict[str, Tensor]:
    """The tensors of `method` that are not in a frozen part, by name: themselves, so that they can be written to."""
    frozen = tuple(f"{name}." for name, module in method.named_modules() if name and is_frozen(module))
    return {
        name: value.detach() for name, value in method.state_dict().items() if not frozen or not name.startswith(frozen)
    }


def save_state(method: AnyMethod, path: _Path, facts: Mapping[str, Any] | None = None) -> None:
    """Writes the state of `method` as safetensors, atomically. Where ranks hold shares, all call, and rank 0 writes.

    Args:
        method: whose state it is.
        path: of the file.
        facts: plain values that stand in it as JSON, see `load_facts`.
    """
    _write(state(method), path, facts)


def load_state(method: M, path: _Path) -> M:
    """Reads what `save_state` wrote into `method` and returns it.

    Raises:
        DeixisError: the file can't be read, or a tensor is missing, superfluous or of another shape; all are named.
    """
    _fill(method, _read(path), path)
    return method


def load_facts(path: _Path) -> dict[str, Any]:
    """The facts that were saved with a state; the tensors are not read.

    Raises:
        DeixisError: the file can't be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return dict(json.loads((file.metadata() or {}).get(_FACTS, "{}")))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise _unreadable(path, error) from error


def save_training(
    path: _Path,
    method: AnyMethod,
    optimiser: torch.optim.Optimizer,
    facts: Mapping[str, Any],
    more: Mapping[str, Tensor],
) -> None:
    """Writes all that a run needs to go on, atomically. Where ranks hold shares, all call, and rank 0 writes.

    Args:
        path: of the file.
        method: its state is saved, as by `save_state`.
        optimiser: its moments are saved, its settings are not.
        facts: plain values, see `load_facts`.
        more: further tensors, such as states of random generators.
    """
    moments = {
        f"{_OPTIMISER}{name}.{moment}": torch.as_tensor(value)
        for name, parameter in _trained(method, optimiser).items()
        for moment, value in optimiser.state.get(parameter, {}).items()
    }
    if "step" in optimiser.param_groups[0]:  # some count in their groups, and not in each tensor's state
        moments[_STEP] = torch.as_tensor(optimiser.param_groups[0]["step"])
    own = {f"{_METHOD}{name}": value for name, value in state(method).items()}
    _write({**more, **own, **moments}, path, facts)


def load_training(path: _Path, method: AnyMethod, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Reads what `save_training` wrote into `method` and `optimiser`; gives the further tensors.

    Raises:
        DeixisError: the file can't be read, or does not fit the method or the optimiser.
    """
    read = _read(path)
    own = {name.removeprefix(_METHOD): value for name, value in read.items() if name.startswith(_METHOD)}
    moments: dict[str, dict[str, Tensor]] = {}
    for key, value in read.items():
        if key.startswith(_OPTIMISER):
            name, _, moment = key.removeprefix(_OPTIMISER).rpartition(".")
            moments.setdefault(name, {})[moment] = value
    trained = _trained(method, optimiser)
    strangers = sorted(moments.keys() - trained.keys())
    if strangers:
        raise DeixisError(
            f"{os.fspath(path)} holds optimiser state of {strangers[0]!r}, which is not trained here.", _FIT
        )
    _fill(method, own, path)
    held = {
        index: {moment: _laid_out(value, parameter) for moment, value in moments[name].items()}
        for index, (name, parameter) in enumerate(trained.items())
        if name in moments
    }
    optimiser.load_state_dict({"state": held, "param_groups": optimiser.state_dict()["param_groups"]})
    for group in optimiser.param_groups if _STEP in read else ():
        group["step"] = read[_STEP].clone()
    return {name: value for name, value in read.items() if name != _STEP and not name.startswith((_METHOD, _OPTIMISER))}


_FIT = "Build the method with the settings it was saved with."


def _trained(method: AnyMethod, optimiser: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """Name -> parameter, in the order of the optimiser."""
    names = {id(parameter): name for name, parameter in method.named_parameters()}
    return {names[id(each)]: each for group in optimiser.param_groups for each in group["params"]}


def _write(tensors: Mapping[str, Tensor], path: _Path, facts: Mapping[str, Any] | None) -> None:
    whole = gathered(tensors)
    if whole is None:
        return
    metadata = None if facts is None else {_FACTS: json.dumps(facts, allow_nan=False)}
    with atomic_path(path) as temporary:
        # Copies, since tensors that share memory (tied weights) or are laid out otherwise are refused.
        copies = {name: value.clone(memory_format=torch.contiguous_format) for name, value in whole.items()}
        save_file(copies, temporary, metadata)


def _read(path: _Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: _Path, error: Exception) -> DeixisError:
    return DeixisError(f"{os.fspath(path)} can't be read as a checkpoint: {error}.", "Train again.")


def _fill(method: AnyMethod, read: Mapping[str, Tensor], path: _Path) -> None:
    """Copies tensors into their places, if all fit."""
    if isinstance(method, HasTakeSizes):  # of what was fitted, which has the sizes of its data
        method.take_sizes({name: tuple(value.shape) for name, value in read.items()})
    own = state(method)
    wrong = [f"{name} is missing" for name in own if name not in read]
    wrong += [f"{name} is not known" for name in read if name not in own]
    wrong += [
        f"{n} is {tuple(read[n].shape)}, not {tuple(own[n].shape)}"
        for n in own
        if n in read and read[n].shape != own[n].shape
    ]
    if wrong:
        raise DeixisError(f"{os.fspath(path)} does not fit this method: {'; '.join(wrong)}.", _FIT)
    for name, value in own.items():
        fill(value, read[name])


def _laid_out(value: Tensor, parameter: Tensor) -> Tensor:
    """As the parameter lies in memory: fused optimisers walk through both side by side."""
    if value.shape != parameter.shape:
        return value
    laid = torch.empty_like(parameter, dtype=value.dtype, requires_grad=False)
    fill(laid, value)
    return laid
