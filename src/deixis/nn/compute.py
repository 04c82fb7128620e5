"""Where models compute for a while: on which device, how many pictures at a time, in which number format."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import NamedTuple

import torch
from torch import nn

from deixis.errors import DeixisError

__all__ = ["Compute", "autocast", "batch_size", "computing", "current", "on_threads", "placed", "resolve_device"]

_PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Compute(NamedTuple):
    """Where and how models compute.

    Attributes:
        device: that models are moved to.
        batch: pictures at a time; 0: as many as suits the model's input.
        precision: of the products (autocast); None: that of the weights.
    """

    device: torch.device
    batch: int = 0
    precision: torch.dtype | None = None

    @property
    def facts(self) -> dict[str, str | int]:
        """As a run records it."""
        name = next(name for name, dtype in _PRECISIONS.items() if dtype is self.precision)
        return {"device": str(self.device), "batch": self.batch, "precision": name}


_CURRENT: ContextVar[Compute | None] = ContextVar("compute", default=None)
_EVERYWHERE: list[Compute] = []  # what holds in threads that nothing else was said in


def resolve_device(name: str = "auto") -> torch.device:
    """The device of a name; `auto` is a GPU where there is one, of several under `torchrun` one for each rank.

    Args:
        name: `auto`, `cpu`, `cuda` or `mps`.

    Raises:
        DeixisError: this machine, or this build of PyTorch, has no such device.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(each for each in there if there[each])
    if name not in there:
        raise DeixisError(f"There is no device {name!r}.", "Give auto, cpu, cuda or mps.")
    if not there[name]:
        usable = ", ".join(each for each in there if there[each])
        built = "" if name == "mps" or torch.version.cuda else ", which was built without CUDA,"
        raise DeixisError(
            f"--device {name} was requested, and PyTorch {torch.__version__}{built} finds no such GPU.",
            f"Usable here: {usable}. Leave --device out to take the fastest of them, or install a build of PyTorch for "
            "the GPU and check its driver (pytorch.org/get-started).",
        )
    if name == "cuda":
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
    return torch.device(name)


def current() -> Compute:
    """What holds here; outside of `computing`, the fastest device and full precision."""
    return _CURRENT.get() or next(iter(_EVERYWHERE), None) or Compute(resolve_device())


@contextlib.contextmanager
def computing(
    device: str = "auto", batch: int = 0, precision: str = "fp32", *, everywhere: bool = False
) -> Iterator[Compute]:
    """Lets all that encodes inside compute so.

    Args:
        device: see `resolve_device`.
        batch: pictures at a time; 0: as many as suits the model's input.
        precision: `fp32`, `bf16` or `fp16`.
        everywhere: also in all other threads of this process, such as those of a server.

    Raises:
        DeixisError: there is no such device or precision, or a negative batch.
    """
    if precision not in _PRECISIONS:
        raise DeixisError(f"There is no precision {precision!r}.", f"Give one of {', '.join(_PRECISIONS)}.")
    if batch < 0:
        raise DeixisError(f"--batch is {batch}.", "Give the number of pictures at a time, or 0 for a suitable one.")
    chosen = Compute(resolve_device(device), batch, _PRECISIONS[precision])
    token = _CURRENT.set(chosen)
    if everywhere:
        _EVERYWHERE.insert(0, chosen)
    try:
        yield chosen
    finally:
        _CURRENT.reset(token)
        if everywhere:
            _EVERYWHERE.remove(chosen)


def batch_size(suitable: int) -> int:
    """Pictures at a time.

    Args:
        suitable: how many where none were requested.
    """
    return current().batch or suitable


@contextlib.contextmanager
def placed(module: object) -> Iterator[None]:
    """The module on the device of `current`; afterwards it is where it was.

    Args:
        module: with its weights on one device; what has none is left alone.
    """
    weight = next(module.parameters(), None) if isinstance(module, nn.Module) else None
    here = current().device
    if not isinstance(module, nn.Module) or weight is None or weight.device == here:
        yield
        return
    before = weight.device
    try:
        module.to(here)
        yield
    finally:
        module.to(before)


@contextlib.contextmanager
def autocast(device: torch.device) -> Iterator[None]:
    """Products in the precision of `current`; nothing where that is full.

    Args:
        device: where the products are made.
    """
    precision = current().precision
    if precision is None:
        yield
        return
    with torch.autocast(device.type, dtype=precision):
        yield


@contextlib.contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Computes on so many threads of the processor inside, and on as many as before afterwards.

    Args:
        count: of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
