"""The loop: a batch, its gradients, a step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch

from deixis.engine.stages import Method, enter
from deixis.engine.step import backward
from deixis.errors import DeixisError
from deixis.ops.collective import average_gradients, rank, total, world_size
from deixis.types import Batch, Losses, Progress, Stage

__all__ = ["batches", "train"]


def batches(batch: Batch, size: int, seed: int) -> Iterator[Batch]:
    """Pieces of `batch` for ever, shuffled anew each pass; the last, short piece of a pass is left out.

    Args:
        batch: all samples.
        size: samples per piece; all of them where there are fewer.
        seed: of the shuffles.
    """
    generator = torch.Generator().manual_seed(seed)
    size = min(size, len(batch))
    while True:
        order = torch.randperm(len(batch), generator=generator)
        for start in range(0, len(batch) - size + 1, size):
            yield batch.take(order[start : start + size].tolist())


def train(
    method: Method,
    data: Iterator[Batch],
    steps: int,
    *,
    stage: Stage | None = None,
    seed: int = 0,
    chunk: int | None = None,
    on_step: Callable[[Progress, Losses], None] | None = None,
) -> Method:
    """Trains `method` for `steps` optimiser steps (AdamW with the method's `parameter_groups()`).

    Args:
        method: built by `deixis.engine.build`.
        data: endless batches, see `batches`.
        steps: optimiser steps.
        stage: which of the method's stages; the default trains all that is not frozen.
        seed: of dropout and of the method's own draws.
        chunk: samples per piece under gradient caching.
        on_step: called after each step, the method then being in training mode.

    Raises:
        DeixisError: the loss is not finite; the step and the parts are told, the weights are those before the step.
    """
    stage = stage or Stage()
    chosen = enter(method, stage)
    groups: list[dict[str, Any]] = (
        method.parameter_groups() if hasattr(method, "parameter_groups") else [{"params": list(chosen.values())}]
    )
    optimiser = torch.optim.AdamW(groups, fused=True)  # one pass over the weights; up to a sixth of a step's time
    peaks = [group["lr"] for group in optimiser.param_groups]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(steps):
            progress = Progress(step, steps, stage=stage.name, seed=seed, rank=rank())
            optimiser.zero_grad(set_to_none=True)
            losses = backward(method, next(data), progress, chunk)
            # All ranks give up together, or those with a finite loss would wait for the other for ever.
            if int(total(torch.isfinite(losses.total).long())) < world_size():
                parts = {name: float(part.detach()) for name, part in losses.parts.items()}
                raise DeixisError(
                    f"The loss is not a finite number at step {step}: {parts}.", "Try a lower learning rate."
                )
            average_gradients(chosen.values())
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * (method.rate(progress) if hasattr(method, "rate") else 1.0)
            if hasattr(method, "after_backward"):
                method.after_backward(progress)
            optimiser.step()
            done = dataclasses.replace(progress, step=step + 1)
            if hasattr(method, "after_step"):
                method.after_step(done, losses)
            if on_step is not None:
                on_step(done, losses)
    method.eval()
    return method
