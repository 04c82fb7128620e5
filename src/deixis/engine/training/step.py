"""One step's gradients, of a batch of any size."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from deixis.engine.training.stages import group_size
from deixis.errors import DeixisError
from deixis.ops.collective import gather
from deixis.ops.sharding import has_shares
from deixis.types import Batch, Features, Losses, Progress
from deixis.types.protocols import AnyMethod, HasEncode, TrainedMethod

__all__ = ["Precision", "backward", "random_state", "set_random_state"]

Precision = Literal["float32", "bf16"]
"""Of the products in a forward pass. Weights, gradients and moments are float32 in any case."""


def backward(
    method: TrainedMethod, batch: Batch, progress: Progress, chunk: int | None = None, precision: Precision = "float32"
) -> Losses:
    """Adds the gradients of the batch's loss to the parameters.

    With `chunk`, the batch goes through `encode` in pieces of that size, twice: first without a graph, then once more
    to carry the loss's gradient back (gradient caching; Gao et al., 2021). The gradient is that of the whole batch, the
    memory that of a piece. Dropout draws the same masks both times, and to `encode` each piece is a micro-batch.

    Args:
        method: with `encode` and `loss`.
        batch: of any size.
        progress: where in the run.
        chunk: samples per piece; None takes the batch whole.
        precision: of the forward pass, hence of the backward pass.

    Raises:
        DeixisError: `chunk` with a layer that mixes samples (batch norm in training mode), or with a method that
            can't encode a part of a batch.
    """
    group = group_size(method)
    pieces = [batch] if chunk is None or chunk >= len(batch) else batch.split(max(chunk, group), group)
    idle = 0 if chunk is None else _idle(method, len(pieces))
    if len(pieces) + idle == 1:
        with _cast(method, precision):
            losses = method(batch, progress)
        losses.total.backward()
        return losses
    encoding = _in_pieces(method)
    moments = [dataclasses.replace(progress, micro=progress.micro * len(pieces) + i) for i in range(len(pieces))]
    states, cached = [], []
    for piece, moment in zip(pieces, moments, strict=True):
        states.append(random_state())
        with torch.no_grad(), _cast(method, precision):
            cached.append(encoding.encode(piece, moment))
    after = random_state()
    for _ in range(idle):
        with torch.no_grad(), _cast(method, precision):
            encoding.encode(pieces[0], moments[0])
    set_random_state(after)
    rows = {
        name: torch.cat([features.rows[name] for features in cached]).requires_grad_(
            cached[0].rows[name].is_floating_point()
        )
        for name in cached[0].rows
    }
    with _cast(method, precision):
        shared = dict(encoding.encode(pieces[0], moments[0]).shared) if cached[0].shared else {}
        losses = encoding.loss(Features(rows, shared), batch, progress)
    losses.total.backward()
    after = random_state()
    for i, (piece, moment) in enumerate(zip(pieces, moments, strict=True)):
        set_random_state(states[i])
        with _cast(method, precision):
            features = encoding.encode(piece, moment)
        _carry_back(features.rows, rows, i * len(pieces[0]))
    for _ in range(idle):
        with _cast(method, precision):
            features = encoding.encode(pieces[0], moments[0])
        _carry_back(features.rows, rows, None)
    set_random_state(after)
    parts = {name: part.detach() for name, part in losses.parts.items()}
    return dataclasses.replace(losses, parts=parts)


def _cast(method: AnyMethod, precision: Precision) -> contextlib.AbstractContextManager[object]:
    """One for each pass: what it casts it keeps to its end, and what was cast without a graph carries no gradient."""
    if precision == "float32":
        return contextlib.nullcontext()
    return torch.autocast(next(method.parameters()).device.type, torch.bfloat16)


def random_state() -> tuple[UInt8[Tensor, " N"], list[UInt8[Tensor, " M"]]]:
    """The state of the global generators: the CPU's, and those of the GPUs if any is in use."""
    return torch.random.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def set_random_state(state: tuple[UInt8[Tensor, " N"], list[UInt8[Tensor, " M"]]]) -> None:
    """Sets what `random_state` gave."""
    torch.random.set_rng_state(state[0])
    if state[1]:
        torch.cuda.set_rng_state_all(state[1])


def _idle(method: AnyMethod, pieces: int) -> int:
    """How many pieces other ranks have more than this one. Where weights lie in shares, all ranks must put them
    together equally often, and so a rank with fewer pieces goes through the towers once more for each that it lacks."""
    if not has_shares(method):
        return 0
    counts = gather(torch.tensor([float(pieces)], device=next(method.parameters()).device))
    return int(counts.max()) - pieces


def _carry_back(features: Mapping[str, Tensor], rows: dict[str, Tensor], start: int | None) -> None:
    """Sends the cached gradients of the rows from `start` on through the piece's own graph; or zeros, without one."""
    pairs = [
        (value, torch.zeros_like(value) if start is None else grad[start : start + len(value)])
        for name, value in features.items()
        if value.requires_grad and (grad := rows[name].grad) is not None
    ]
    if pairs:
        torch.autograd.backward([value for value, _ in pairs], [grad for _, grad in pairs])


def _in_pieces(method: TrainedMethod) -> HasEncode:
    """The method, if a batch can go through `encode` in pieces."""
    if not isinstance(method, HasEncode):
        raise DeixisError(
            "Gradient caching would be wrong here: the method mixes the samples of a batch while it encodes them.",
            "Train it without --chunk.",
        )
    for name, module in method.named_modules():
        norm = isinstance(module, nn.modules.batchnorm._BatchNorm)
        if norm and (module.training or module.running_mean is None):
            raise DeixisError(
                f"Gradient caching would be wrong here: {name} ({type(module).__name__}) mixes the samples of a piece.",
                "Train it without --chunk, or freeze that layer's statistics.",
            )
    return method
