"""Metrics of a run while it trains: a line every few steps, in a file that a resumed run repairs."""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from deixis.engine.training.train import Training
from deixis.files import atomic_path
from deixis.ops.collective import total, world_size
from deixis.types import Losses, Progress

__all__ = ["CollapseWarning", "Journal", "Monitor"]

Line = dict[str, Any]


class Monitor:
    """Sums up the steps since its last line. A step costs it two additions; what must be read from tensors is read when
    a line is made.

    Args:
        training: whose steps it follows.
        stage: the number of the stage.
        before: seconds that the run had taken before this process took it up.
    """

    def __init__(self, training: Training, stage: int = 0, before: float = 0.0) -> None:
        self._training, self._stage, self._before = training, stage, before
        self._begun = self._mark = time.perf_counter()
        self._steps = self._samples = 0
        self._waited = 0.0

    def note(self) -> None:
        """Counts a step that was just done."""
        self._steps += 1
        self._samples += self._training.pulse.samples
        self._waited += self._training.pulse.waited

    def line(self, progress: Progress, losses: Losses) -> Line:
        """What there is to say of the steps since the last line; all ranks ask at the same step.

        Returns:
            `stage`, `step`, `of`, `epoch`, `loss` and its `parts`, the method's `metrics`, `gradient_norm`,
            `learning_rate`, `samples_per_second` (of all ranks), `waiting` (share of the time until batches were
            there), `memory_mb` (the peak), `seconds` (of the whole run) and `eta` (seconds to the stage's end). A
            number that is not finite is None.
        """
        now = time.perf_counter()
        took = max(now - self._mark, 1e-9)
        pulse = self._training.pulse
        line = {
            "stage": self._stage,
            "step": progress.step,
            "of": progress.total,
            "epoch": progress.epoch,
            "loss": _shared(losses.total),
            "parts": {name: _shared(part) for name, part in losses.parts.items()},
            "metrics": {name: _number(value) for name, value in losses.metrics.items()},
            "gradient_norm": _number(pulse.norm),
            "learning_rate": pulse.rate,
            "samples_per_second": round(world_size() * self._samples / took, 2),
            "waiting": round(self._waited / took, 4),
            "memory_mb": round(peak_mb(), 1),
            "seconds": round(self._before + now - self._begun, 2),
            "eta": round((progress.total - progress.step) * took / max(1, self._steps), 1),
        }
        self._steps = self._samples = 0
        self._waited, self._mark = 0.0, time.perf_counter()
        return line

    def skip(self) -> None:
        """Leaves out of the next line's rates the time since the last one, in which something else was done."""
        self._mark = time.perf_counter()


def _shared(loss: torch.Tensor) -> float | None:
    """The mean over ranks, which is the global loss."""
    return _number(total(loss.detach().float()) / world_size())


def _number(value: torch.Tensor | float) -> float | None:
    number = float(value.detach().float().mean()) if isinstance(value, torch.Tensor) else float(value)
    return number if math.isfinite(number) else None


def peak_mb() -> float:
    """The most memory that this process has held so far: of its GPU where it uses one, else of the machine."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Journal:
    """Lines of JSON in a file, each of one step; a step stands in it once.

    Args:
        path: of the file.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def write(self, line: Mapping[str, Any]) -> None:
        """Adds a line, at once."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")

    def lines(self) -> list[Line]:
        """All whole lines."""
        if not self.path.exists():
            return []
        return [line for line in map(_parsed, self.path.read_text("utf-8", "replace").splitlines()) if line is not None]

    def rewind(self, stage: int, step: int) -> list[Line]:
        """Takes out what lies behind `step` of the stage with number `stage`: it comes again. Gives what is left."""
        lines = self.lines()
        retained = [line for line in lines if (line["stage"], line["step"]) <= (stage, step)]
        if self.path.exists():
            with atomic_path(self.path) as part:
                part.write_text(
                    "".join(json.dumps(line, allow_nan=False) + "\n" for line in retained), encoding="utf-8"
                )
        return retained


def _parsed(text: str) -> Line | None:
    """The line, unless a kill cut it."""
    try:
        line = json.loads(text)
    except ValueError:
        return None
    return line if isinstance(line, dict) and {"stage", "step"} <= line.keys() else None


class CollapseWarning:
    """Warns when something falls below a share of the highest it was: once, until it has risen again.

    Args:
        share: of the highest.
    """

    def __init__(self, share: float = 0.5) -> None:
        self.share = share
        self._highest: dict[str, float] = {}
        self._low: set[str] = set()

    def note(self, values: Mapping[str, float]) -> list[str]:
        """The names of what has just fallen too low."""
        fallen = []
        for name, value in values.items():
            self._highest[name] = max(value, self._highest.get(name, value))
            if value >= self.share * self._highest[name]:
                self._low.discard(name)
            elif name not in self._low:
                self._low.add(name)
                fallen.append(name)
        return fallen

    def highest(self, name: str) -> float:
        """The highest that was noted under `name`."""
        return self._highest[name]
