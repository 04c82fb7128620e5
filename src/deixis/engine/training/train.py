"""The loop: a batch, its gradients, a step."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch

from deixis.data.loading.loader import Loader
from deixis.engine.training.checkpoint import load_facts, load_training, save_training
from deixis.engine.training.optim import make_optimiser, optim_spec, set_rates
from deixis.engine.training.stages import card_of, enter
from deixis.engine.training.step import Precision, backward, random_state, set_random_state
from deixis.errors import DeixisError, raise_if_stopped
from deixis.files import clear_partial
from deixis.ops.collective import average_gradients, gather, rank, total, world_size
from deixis.ops.sharding import clip_norm, has_shares, own, total_norm
from deixis.types import Batch, Losses, Progress, Stage
from deixis.types.protocols import AnyMethod, HasAfterBackward, HasAfterStep, HasFinish, HasObserve, TrainedMethod

__all__ = ["Numerics", "StepStats", "Training", "batches", "fit", "train"]

Trained = TypeVar("Trained", bound=TrainedMethod)
Fitted = TypeVar("Fitted", bound=AnyMethod)
OnStep = Callable[[Progress, Losses], None]

_NAMED = 3
"""The most names that a message lists."""


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
    method: Trained,
    data: Iterator[Batch] | Loader,
    steps: int,
    *,
    stage: Stage | None = None,
    seed: int = 0,
    chunk: int | None = None,
    on_step: OnStep | None = None,
) -> Trained:
    """Trains `method` for `steps` optimiser steps, as the `OptimSpec` of its config says.

    Args:
        method: built by `deixis.engine.training.build`.
        data: endless batches, see `batches`, or a loader.
        steps: optimiser steps.
        stage: which of the method's stages; the default trains all that is not frozen.
        seed: of dropout and of the method's own draws.
        chunk: samples per piece under gradient caching.
        on_step: called after each step, the method then being in training mode.

    Raises:
        DeixisError: the loss or its gradient is not finite; the weights are those before the step.
    """
    Training(method, data, steps, stage=stage, seed=seed, chunk=chunk).run(on_step)
    return method


def fit(method: Fitted, data: Iterable[Batch], stage: Stage | None = None, seed: int = 0) -> Fitted:
    """A stage of kind `fit`: the method sees each batch once, and then finishes.

    Args:
        method: with `finish`, and with `observe` where there is data.
        data: all batches, once. With several ranks each is given all of them, and comes to the same.
        stage: which of the method's stages.
        seed: of what it draws.

    Raises:
        DeixisError: the method has nothing to be fitted by.
    """
    stage = stage or Stage(kind="fit")
    if not isinstance(method, HasFinish):
        raise DeixisError(f"{card_of(method).title!r} has no `finish`, and can't be fitted.", "Train it.")
    enter(method, stage)
    tensors = method.state_dict().values()
    device = next((value.device for value in tensors), torch.device("cpu"))
    start = Progress(0, 1, stage=stage.name, seed=seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        for batch in data if isinstance(method, HasObserve) else ():
            method.observe(batch.to(device), start)
        method.finish(start)
    method.eval()
    return method


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How a step computes.

    Attributes:
        clip: what the norm of all gradients together is held to; None: that of the method's config.
        precision: of the products in the forward pass, `float32` or `bf16`.
    """

    clip: float | None = None
    precision: Precision = "float32"


@dataclasses.dataclass(frozen=True)
class StepStats:
    """What there is to say of a step besides its losses.

    Attributes:
        samples: in the batch, of this rank.
        waited: seconds until the batch was there.
        norm: of all gradients together, before it was clipped.
        rate: the learning rate of the first group.
    """

    samples: int = 0
    waited: float = 0.0
    norm: float = 0.0
    rate: float = 0.0


class Training:
    """What `train` does, and can go on with: a run that was killed ends with the same weights, on a CPU bit for bit.

    Args:
        method: as for `train`, and so is what follows.
        data: a loader is resumed at once; any other iterator, begun anew, is wound forward batch by batch.
        steps: optimiser steps.
        stage: which of the method's stages.
        seed: of dropout and of the method's own draws.
        chunk: samples per piece under gradient caching.
        numerics: clipping and precision.

    Attributes:
        pulse: of the last step.
    """

    def __init__(
        self,
        method: TrainedMethod,
        data: Iterator[Batch] | Loader,
        steps: int,
        *,
        stage: Stage | None = None,
        seed: int = 0,
        chunk: int | None = None,
        numerics: Numerics | None = None,
    ) -> None:
        self._method, self._data, self._chunk = method, data, chunk
        self.pulse = StepStats()
        self._start = Progress(0, steps, stage=(stage or Stage()).name, seed=seed, rank=rank())
        self._chosen = enter(method, stage or Stage())
        self._optimiser = make_optimiser(method, self._chosen)
        self._device = next(iter(self._chosen.values())).device
        numerics = numerics or Numerics()
        clip = numerics.clip if numerics.clip is not None else optim_spec(method).clip or None
        self._numerics = dataclasses.replace(numerics, clip=clip)
        self._after_backward = method.after_backward if isinstance(method, HasAfterBackward) else None
        self._after_step = method.after_step if isinstance(method, HasAfterStep) else None

    def run(
        self, on_step: OnStep | None = None, *, checkpoint: str | os.PathLike[str] | None = None, every: int = 100
    ) -> TrainedMethod:
        """Takes all steps, or those that a run before left over.

        Args:
            on_step: called after each step, the method then being in training mode; those between the last checkpoint
                and a kill come again.
            checkpoint: a file in which the run is saved; where it exists, the run resumes from it. Ranks share it.
            every: steps from one write to the next; the last step is always written.

        Raises:
            DeixisError: the loss or its gradient is not finite (the weights are then those before the step, and the
                last checkpoint stays), or the checkpoint is that of another run.
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
                mark = time.perf_counter()
                batch = next(stream)
                self.pulse = StepStats(len(batch), time.perf_counter() - mark)
                losses = self._step(batch, progress)
                if on_step is not None:
                    on_step(dataclasses.replace(progress, step=step + 1), losses)
                if checkpoint is not None and ((step + 1) % every == 0 or step + 1 == self._start.total):
                    self._save(Path(checkpoint), step + 1)
        self._method.eval()
        return self._method

    def _step(self, batch: Batch, progress: Progress) -> Losses:
        raise_if_stopped()
        method, optimiser, numerics = self._method, self._optimiser, self._numerics
        optimiser.zero_grad(set_to_none=True)
        batch = batch if self._device.type == "cpu" else batch.to(self._device)
        losses = backward(method, batch, progress, self._chunk, numerics.precision)
        average_gradients(self._chosen.values())
        norm = self._finite_norm(losses, batch, progress)
        if numerics.clip is not None and norm > numerics.clip:
            clip_norm(self._chosen.values(), numerics.clip, norm)
        set_rates(optimiser, method, progress)
        if self._after_backward is not None:
            self._after_backward(progress)
        optimiser.step()
        if self._after_step is not None:
            self._after_step(dataclasses.replace(progress, step=progress.step + 1), losses)
        self.pulse = dataclasses.replace(self.pulse, norm=norm, rate=optimiser.param_groups[0]["lr"])
        return losses

    def _finite_norm(self, losses: Losses, batch: Batch, progress: Progress) -> float:
        """The norm of all gradients together. All ranks give up together, or the others would wait for ever.

        Raises:
            DeixisError: it is not finite, or the loss is not.
        """
        norm = total_norm([p.grad for p in self._chosen.values() if p.grad is not None]).to(self._device)
        loss = losses.total.detach().float()
        good = total(torch.stack([loss.isfinite().float(), norm.isfinite().float(), norm / world_size()])).tolist()
        if good[0] == good[1] == world_size():
            return float(good[2])
        infinite = _infinite_fields(batch)
        if good[0] < world_size():
            parts = {name: float(part.detach()) for name, part in losses.parts.items()}
            raise DeixisError(
                f"The loss is not a finite number at step {progress.step}: {parts}.{infinite}",
                "Try a lower learning rate.",
            )
        grads = {name: p.grad for name, p in self._chosen.items() if p.grad is not None}
        bad = total(torch.stack([(~own(grad).isfinite()).any().long() for grad in grads.values()])).tolist()
        wrong = [name for name, ranks in zip(grads, bad, strict=True) if ranks]
        where = f"in {_first(wrong)}" if wrong else "in the sum of its squares"
        raise DeixisError(
            f"The gradient is not finite at step {progress.step}, {where}; the loss is.{infinite}",
            "Try a lower learning rate, or float32 instead of bf16.",
        )

    def _facts(self) -> dict[str, Any]:
        """What must be the same when the run goes on."""
        start = self._start
        run = {"stage": start.stage, "steps": start.total, "seed": start.seed, "ranks": world_size()}
        return {**run, "chunk": self._chunk, **dataclasses.asdict(self._numerics)}

    def _save(self, path: Path, done: int) -> None:
        states = {"cpu": [random_state()[0]], "cuda": random_state()[1]}
        # Of all ranks, since they draw different masks; bytes go as floats, which `gather` takes.
        random = {
            f"random.{kind}.{i}": gather(state.to(self._device).float()[None]).byte().cpu()
            for kind, each in states.items()
            for i, state in enumerate(each)
        }
        if rank() == 0 or has_shares(self._method):
            data = self._data.state() if isinstance(self._data, Loader) else None
            save_training(path, self._method, self._optimiser, {**self._facts(), "done": done, "data": data}, random)

    def _resume(self, path: Path, stream: Iterator[Batch]) -> int:
        """The steps that were taken before; all else is then as it was after them."""
        if rank() == 0:
            clear_partial(path)
        if not path.exists():
            return 0
        facts = {"chunk": None, **dataclasses.asdict(Numerics()), **load_facts(path)}
        pairs = [(name, now, facts.get(name)) for name, now in self._facts().items()]
        differ = [f"{name} is {now!r} and was {then!r}" for name, now, then in pairs if now != then]
        if differ or "done" not in facts:
            raise DeixisError(
                f"{path} is the checkpoint of another run: {'; '.join(differ) or 'it has no steps'}.",
                "Resume with the settings it was made with, or remove it to start again.",
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


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _infinite_fields(batch: Batch) -> str:
    """A sentence that names the samples that hold numbers that are not finite; empty where there are none."""
    fields = {"images": batch.images, "boxes": batch.boxes, **batch.extra}
    for name, value in fields.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point() and len(value) == len(batch):
            wrong = [batch.ids[i] for i, row in enumerate(value) if not bool(row.isfinite().all())]
            if wrong:
                return f" {name!r} is not finite in {_first(wrong)}."
    return ""
