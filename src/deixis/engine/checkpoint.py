"""The state of a method on disk: everything but its frozen parts."""

from __future__ import annotations

import os

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from deixis.errors import DeixisError
from deixis.files import atomic_path
from deixis.nn.frozen import is_frozen

__all__ = ["load_state", "save_state", "state"]


def state(method: nn.Module) -> dict[str, Tensor]:
    """The tensors of `method` that are not in a frozen part, by name: themselves, so that they can be written to."""
    frozen = tuple(f"{name}." for name, module in method.named_modules() if name and is_frozen(module))
    return {
        name: value.detach() for name, value in method.state_dict().items() if not frozen or not name.startswith(frozen)
    }


def save_state(method: nn.Module, path: str | os.PathLike[str]) -> None:
    """Writes the state of `method` as safetensors, atomically."""
    with atomic_path(path) as temporary:
        # Copies, since tensors that share memory (tied weights) or are laid out otherwise are refused.
        save_file({k: v.clone(memory_format=torch.contiguous_format) for k, v in state(method).items()}, temporary)


def load_state(method: nn.Module, path: str | os.PathLike[str]) -> nn.Module:
    """Reads what `save_state` wrote into `method` and returns it.

    Raises:
        DeixisError: the file can't be read, or a tensor is missing, superfluous or of another shape; all are named.
    """
    try:
        own, read = state(method), load_file(path)
    except (OSError, SafetensorError) as error:
        raise DeixisError(f"{os.fspath(path)} can't be read as a checkpoint: {error}.", "Train again.") from error
    wrong = [f"{name} is missing" for name in own if name not in read]
    wrong += [f"{name} is not known" for name in read if name not in own]
    wrong += [
        f"{n} is {tuple(read[n].shape)}, not {tuple(own[n].shape)}"
        for n in own
        if n in read and read[n].shape != own[n].shape
    ]
    if wrong:
        raise DeixisError(
            f"{os.fspath(path)} does not fit this method: {'; '.join(wrong)}.",
            "Build the method with the settings it was saved with.",
        )
    for name, value in own.items():
        value.copy_(read[name])
    return method
