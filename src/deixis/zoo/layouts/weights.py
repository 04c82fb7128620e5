"""Tensors by name, out of a file that somebody else made: read one at a time, and without ever running its code."""

from __future__ import annotations

import dataclasses
import pickle
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Shaped
from safetensors import safe_open
from torch import Tensor

from deixis.errors import DeixisError
from deixis.zoo.layouts import torchscript

__all__ = ["Weights", "open_weights"]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint.

    Attributes:
        source: what errors call it.
        shapes: of each tensor, by its name there.
        read: gives a tensor by name, which may be asked for once only; the reader gives its memory away.
        kind: `safetensors`, `pickle`, `training` (a pickle that holds more than weights) or `torchscript`.
    """

    source: str
    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[str], Tensor]
    kind: str

    def take(self, name: str) -> Shaped[Tensor, "..."]:
        """A tensor, in memory of its own, half precision widened to float32; once for each name.

        Raises:
            DeixisError: it holds a number that is not finite, or can't be read.
        """
        try:
            value = self.read(name)
        except (OSError, ValueError, KeyError, RuntimeError, zipfile.BadZipFile) as error:
            raise _unreadable(self.source, error) from error
        if value.is_floating_point():
            if not bool(torch.isfinite(value).all()):
                raise DeixisError(
                    f"{self.source}: the tensor {name!r} holds numbers that are not finite.",
                    "The checkpoint is damaged, or its training diverged; take another one.",
                )
            value = value.to(torch.float32)
        return value


def open_weights(paths: Path | Sequence[Path]) -> Weights:
    """Opens a checkpoint: safetensors (perhaps in several files), a pickle of tensors, or a TorchScript archive.

    Pickles are read with `weights_only=True`. Of an archive only the tensors are read, by an unpickler that builds
    nothing else; its code is never compiled.

    Raises:
        DeixisError: a file is missing, cut short, or would run code.
    """
    if not isinstance(paths, Path):
        return _joined([open_weights(path) for path in paths])
    if not paths.is_file():
        raise DeixisError(f"There is no file {paths}.", "Give the path of a checkpoint.")
    try:
        if paths.suffix == ".safetensors":
            return _safetensors(paths)
        if torchscript.is_archive(paths):
            tensors = torchscript.read(paths)
            shapes = {name: each.shape for name, each in tensors.items()}
            return Weights(str(paths), shapes, lambda name: tensors[name].load(paths), "torchscript")
        return _pickle(paths)
    except pickle.UnpicklingError as error:
        raise DeixisError(
            f"{paths} holds more than tensors, and would run code when it is read ({_first_line(error)}). "
            "It was not read.",
            "Ask for the weights as safetensors; or, if you trust the file, load it where it was made and save its "
            "state_dict() with safetensors.torch.save_file.",
        ) from error
    except Exception as error:  # whatever safetensors, zipfile, torch and the unpickler meet in a damaged file
        raise _unreadable(str(paths), error) from error


def _unreadable(source: str, error: Exception) -> DeixisError:
    return DeixisError(
        f"{source} can't be read as a checkpoint: {_first_line(error)}",
        "It may be cut short: compare its size with the original's, and fetch it again.",
    )


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__


def _safetensors(path: Path) -> Weights:
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118

    def read(name: str) -> Tensor:
        # Opened anew for each tensor: the pages of the file that were touched are given back at once.
        with safe_open(path, framework="pt") as file:
            return file.get_tensor(name).clone()

    return Weights(str(path), shapes, read, "safetensors")


def _pickle(path: Path) -> Weights:
    state: Any = torch.load(path, map_location="cpu", weights_only=True)
    kind = "pickle"
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        kind, state = "training", state["state_dict"]
    if not isinstance(state, dict) or not state:
        raise ValueError(f"it holds a {type(state).__name__}, and no tensors by name")
    if all(str(name).startswith("module.") for name in state):
        kind, state = "training", {name.removeprefix("module."): value for name, value in state.items()}
    tensors = {str(name): torch.as_tensor(value) for name, value in state.items() if _is_number(name, value)}
    state.clear()
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    return Weights(str(path), shapes, tensors.pop, kind)


def _is_number(name: Any, value: Any) -> bool:
    if isinstance(value, Tensor | int | float):
        return True
    raise ValueError(f"the entry {name!r} is a {type(value).__name__}, and no tensor")


def _joined(parts: Sequence[Weights]) -> Weights:
    holder = {name: part for part in parts for name in part.shapes}
    if len(holder) != sum(len(part.shapes) for part in parts):
        raise DeixisError(f"{parts[0].source} and its sister files hold a tensor twice.", "Fetch the checkpoint again.")
    shapes = {name: part.shapes[name] for name, part in holder.items()}
    return Weights(parts[0].source, shapes, lambda name: holder[name].read(name), parts[0].kind)
