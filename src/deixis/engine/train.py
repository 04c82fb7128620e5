"""The loop: a batch, its gradients, a step."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from deixis.data.loader import Loader
from deixis.engine.checkpoint import load_facts, load_training, save_training
from deixis.engine.stages import Method, enter
from deixis.engine.step import backward, random_state, set_random_state
from deixis.errors import DeixisError
from deixis.files import clear_partial
from deixis.ops.collective import average_gradients, gather, rank, total, world_size
from deixis.types import Batch, Losses, Progress, Stage

__all__ = ["Training", "batches", "train"]

OnStep = Callable[[Progress, Losses], None]


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
    data: Iterator[Batch] | Loader,
    steps: int,
    *,
    stage: Stage | None = None,
    seed: int = 0,
    chunk: int | None = None,
    on_step: OnStep | None = None,
) -> Method:
    """Trains `method` for `steps` optimiser steps with the method's `parameter_groups()`, by AdamW or by what the
    config's field `optimiser` names (`adamw` or `lamb`).

    Args:
        method: built by `deixis.engine.build`.
        data: endless batches, see `batches`, or a loader.
        steps: optimiser steps.
        stage: which of the method's stages; the default trains all that is not frozen.
        seed: of dropout and of the method's own draws.
        chunk: samples per piece under gradient caching.
        on_step: called after each step, the method then being in training mode.

    Raises:
        DeixisError: the loss is not finite; the step and the parts are told, the weights are those before the step.
    """
    return Training(method, data, steps, stage=stage, seed=seed, chunk=chunk).run(on_step)


def _optimiser(name: str, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    if name == "lamb":
        from timm.optim.lamb import Lamb

        return Lamb(groups, max_grad_norm=None)
    return torch.optim.AdamW(groups, fused=True)  # one pass over the weights; up to a sixth of a step


class Training:
    """What `train` does, and can go on with: a run that was killed ends with the same weights, on a CPU bit for bit.

    Args:
        method: as for `train`, and so is what follows.
        data: a loader is resumed at once; any other iterator, begun anew, is wound forward batch by batch.
        steps: optimiser steps.
        stage: which of the method's stages.
        seed: of dropout and of the method's own draws.
        chunk: samples per piece under gradient caching.
    """

    def __init__(
        self,
        method: Method,
        data: Iterator[Batch] | Loader,
        steps: int,
        *,
        stage: Stage | None = None,
        seed: int = 0,
        chunk: int | None = None,
    ) -> None:
        self._method, self._data, self._chunk = method, data, chunk
        self._start = Progress(0, steps, stage=(stage or Stage()).name, seed=seed, rank=rank())
        self._chosen = enter(method, stage or Stage())
        groups: list[dict[str, Any]] = (
            method.parameter_groups()
            if hasattr(method, "parameter_groups")
            else [{"params": list(self._chosen.values())}]
        )
        self._optimiser = _optimiser(getattr(getattr(method, "config", None), "optimiser", "adamw"), groups)
        self._peaks = [group["lr"] for group in self._optimiser.param_groups]

    def run(
        self, on_step: OnStep | None = None, *, checkpoint: str | os.PathLike[str] | None = None, every: int = 100
    ) -> Method:
        """Takes all steps, or those that a run before left over.

        Args:
            on_step: called after each step, the method then being in training mode; those between the last checkpoint
                and a kill come again.
            checkpoint: a file in which the run is kept. Is it there, the run goes on from it. Ranks share it.
            every: steps from one write to the next; the last step is always written.

        Raises:
            DeixisError: the loss is not finite, or the checkpoint is that of another run.
        """
        if every < 1:
            raise DeixisError(f"A checkpoint every {every} steps can't be.", "Give 1 or more.")
        stream = self._data.forever() if isinstance(self._data, Loader) else self._data
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self._start.seed)
            done = 0 if checkpoint is None else self._resume(Path(checkpoint), stream)
            for step in range(done, self._start.total):
                epoch = self._data.epoch if isinstance(self._data, Loader) else 0
                progress = dataclasses.replace(self._start, step=step, epoch=epoch)
                losses = self._step(next(stream), progress)
                if on_step is not None:
                    on_step(dataclasses.replace(progress, step=step + 1), losses)
                if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == self._start.total):
                    self._save(Path(checkpoint), step + 1)
        self._method.eval()
        return self._method

    def _step(self, batch: Batch, progress: Progress) -> Losses:
        method, optimiser = self._method, self._optimiser
        optimiser.zero_grad(set_to_none=True)
        losses = backward(method, batch, progress, self._chunk)
        # All ranks give up together, or those with a finite loss would wait for the other for ever.
        if int(total(torch.isfinite(losses.total).long())) < world_size():
            parts = {name: float(part.detach()) for name, part in losses.parts.items()}
            raise DeixisError(
                f"The loss is not a finite number at step {progress.step}: {parts}.", "Try a lower learning rate."
            )
        average_gradients(self._chosen.values())
        for group, peak in zip(optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = peak * (method.rate(progress) if hasattr(method, "rate") else 1.0)
        if hasattr(method, "after_backward"):
            method.after_backward(progress)
        optimiser.step()
        if hasattr(method, "after_step"):
            method.after_step(dataclasses.replace(progress, step=progress.step + 1), losses)
        return losses

    def _facts(self) -> dict[str, Any]:
        """What must be the same when the run goes on."""
        start = self._start
        return {"stage": start.stage, "steps": start.total, "seed": start.seed, "ranks": world_size()}

    def _save(self, path: Path, done: int) -> None:
        device = next(iter(self._chosen.values())).device
        states = {"cpu": [random_state()[0]], "cuda": random_state()[1]}
        # Of all ranks, since they draw different masks; bytes go as floats, which `gather` takes.
        random = {
            f"random.{kind}.{i}": gather(state.to(device).float()[None]).byte().cpu()
            for kind, each in states.items()
            for i, state in enumerate(each)
        }
        if rank() == 0:
            data = self._data.state() if isinstance(self._data, Loader) else None
            save_training(path, self._method, self._optimiser, {**self._facts(), "done": done, "data": data}, random)

    def _resume(self, path: Path, stream: Iterator[Batch]) -> int:
        """The steps that were taken before; all else is then as it was after them."""
        if rank() == 0:
            clear_partial(path)
        if not path.exists():
            return 0
        facts = load_facts(path)
        pairs = [(name, now, facts.get(name)) for name, now in self._facts().items()]
        differ = [f"{name} is {now!r} and was {then!r}" for name, now, then in pairs if now != then]
        if differ or "done" not in facts:
            raise DeixisError(
                f"{path} is the checkpoint of another run: {'; '.join(differ) or 'it has no steps'}.",
                "Go on with the settings it was made with, or remove it to begin anew.",
            )
        random = load_training(path, self._method, self._optimiser)
        if isinstance(self._data, Loader) and facts["data"] is not None:
            self._data.load_state(facts["data"])
        else:
            for _ in range(facts["done"]):
                next(stream)
        # Copies: given a row of a larger tensor, torch reads the state from the tensor's beginning.
        own = {name: states[rank()].clone() for name, states in random.items()}
        set_random_state((own.pop("random.cpu.0"), [own[name] for name in sorted(own)]))
        return int(facts["done"])
