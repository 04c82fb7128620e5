"""A toy claim that trains in a second: lines through points, the rival's with noise on them.

Run as a module it tries the claim in a process of its own: `python -m tests.toy_claims FOLDER`.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from deixis.data.loading.sampler import Draw
from deixis.engine.claims import claims
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.claims.design import Design
from deixis.engine.claims.trials import Cost, TrialBackend
from deixis.errors import DeixisError
from deixis.types import Arm, Batch, Claim, Features, FieldSpec, Losses, OptimSpec, Progress, Sample, Source, Stage
from tests.toys import carded

if TYPE_CHECKING:
    import pytest

__all__ = ["LAB", "Line", "claim", "code", "short", "verb_with_toys"]

SPECS = {"x": FieldSpec("x", "B D"), "y": FieldSpec("y", "B D")}


def points(count: int, noise: float, seed: int) -> Source:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 3, generator=rng)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + noise * torch.randn(count, 1, generator=rng)
    samples = tuple(Sample(f"{i}", None, extra={"x": x[i], "y": y[i]}) for i in range(count))
    return Source("points", Path("."), "text", "a list", samples)


class Line(nn.Module):
    """Three slopes, learned with dropout so that the global generator matters."""

    def __init__(self, learning_rate: float, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.slopes = nn.Linear(3, 1)
        self.config = SimpleNamespace(optim=OptimSpec(learning_rate=learning_rate, decay_1d=True))

    def encode(self, batch: Batch, progress: Progress) -> Features:
        return Features({"y": self.slopes(F.dropout(batch.extra["x"], 0.1, self.training))})

    def loss(self, features: Features, batch: Batch, progress: Progress) -> Losses:
        return Losses({"error": F.mse_loss(features.rows["y"], batch.extra["y"])})

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.loss(self.encode(batch, progress), batch, progress)


carded(Line, needs=tuple(SPECS.values()))


def task(name: str, options: Mapping[str, Any], seed: int) -> TrainingTask:
    if name != "points":
        raise DeixisError(f"There is no task {name!r}.", "There is points.")
    parts = [points(32, options.get("noise", 0.0) if i == 0 else 0.0, 10 * seed + i) for i in range(3)]
    train, validation, test = parts
    return TrainingTask(train, validation, test, lambda seed: SimpleNamespace(), options["batch_size"])  # type: ignore[arg-type]


def build(name: str, settings: Mapping[str, Any], task: TrainingTask, seed: int) -> Line:
    if settings["learning_rate"] > 10:
        raise DeixisError("The loss is not a finite number.", "Try a lower learning rate.")
    return Line(settings["learning_rate"], seed)


def collate(method: Line, source: Source, stage: Stage) -> Any:
    def encode(sample: Sample, draw: Draw | None) -> Batch:
        return Batch((sample.id,), extra={name: sample.extra[name][None] for name in SPECS}, specs=SPECS)

    return encode


def measure(name: str, method: Line, source: Source) -> torch.Tensor:
    """1 less the error of each point; draws from the global generator, as a careless measure might."""
    torch.rand(3)
    x, y = (torch.stack([sample.extra[name] for sample in source.samples]) for name in ("x", "y"))
    with torch.no_grad():
        return (1 - (method.slopes(x) - y) ** 2)[:, 0]


def code(name: str) -> str:
    return f"the code of {name}"


LAB = TrialBackend(task, build, collate, measure, code)


def claim(statistic: Any = "area", **changed: Any) -> Claim:
    grid = {"learning_rate": (0.01, 0.1, 0.5)}
    arms = {"clean": Arm("line", {}, {}, grid), "noisy": Arm("line", {}, {"noise": 4.0}, grid)}
    said = {"metric": "fit", "minimum_effect": 1.1 if statistic == "ratio" else 0.01, "budget": 160}
    said |= {"data": "points", "options": {"batch_size": 8}, "arms": arms, **changed}
    said = {"cheap": list(said["arms"])[-1], **said}
    return Claim(**{"statement": "Clean points are learned faster than noisy ones.", "statistic": statistic, **said})


def short() -> Design:
    """The claim with two seeds and nothing to tune: each unit is a process that imports torch."""
    arms = {
        name: dataclasses.replace(arm, overrides={"learning_rate": 0.1}, grid={}) for name, arm in claim().arms.items()
    }
    return Design("line", claim(budget=800, arms=arms), seeds=2, lab=LAB)


def verb_with_toys(monkeypatch: pytest.MonkeyPatch, method: SimpleNamespace, root: Path) -> None:
    """`deixis claim` with a toy for the one method, in one process.

    Args:
        monkeypatch: undoes it.
        method: has the claims that are tried, as `claims`.
        root: of the repository that it takes its code to lie in.
    """
    from deixis.apps.claim import claim as app  # processes of the toy claim start without it

    monkeypatch.setattr(app, "read", lambda name: method)
    monkeypatch.setattr(app, "list_methods", lambda: ["line"])
    monkeypatch.setattr(app, "repository", lambda file: root)
    monkeypatch.setattr(app, "claim", functools.partial(app.claim, lab=LAB))
    monkeypatch.setattr(
        claims, "in_processes", lambda place, one, jobs, done, share: claims.here(place, one, done, share)
    )
    monkeypatch.setattr(claims, "pilot", lambda one, place, jobs: {arm: Cost(36.0, 2.0) for arm in one.chosen})


if __name__ == "__main__":
    design, place = short(), Path(sys.argv[1])
    run = claims.in_processes(place, design, 2, lambda: print("done", flush=True))
    tuned = claims.tune(design, run)
    claims.report(design, tuned, run)
