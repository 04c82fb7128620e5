"""The trunk of a claim: an image tower that is trained once, by a method that the claim names, for all arms and seeds.

The spread over seeds then is that of what the arms add; how other trunks would come out, it does not tell.
"""

from __future__ import annotations

import copy
import dataclasses
import fcntl
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file

from deixis import zoo
from deixis.data.loading.loader import Encode, Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.engine.claims.claim_tasks import TrainingTask
from deixis.engine.training.build import build
from deixis.engine.training.checkpoint import load_facts, save_state
from deixis.engine.training.stages import stages, trained
from deixis.engine.training.train import Training
from deixis.errors import DeixisError
from deixis.files import cache_dir
from deixis.methods import read
from deixis.types import Losses, Progress, Source, Stage, Trunk
from deixis.types.protocols import AnyMethod

__all__ = ["TRUNK", "TrunkPlace", "start_from"]

TRUNK = "trunk"
"""Among the options of a unit: what its arm starts from."""

_KIND = "image_tower"
_LAST = 0.1
"""Share of the steps, at the end, over which the loss is averaged."""

_TRIVIAL = 0.98
"""Share of the loss of equal answers above which the trunk counts as one that did not learn."""

_WRITES = 10


class TrunkPlace(NamedTuple):
    """Where a trunk is trained.

    Attributes:
        task: seed -> images and the tower.
        collate: (method, source, stage) -> what makes batches.
        facts: what else the trained weights hang on: the task's name and options, and fingerprints of code.
    """

    task: Callable[[int], TrainingTask]
    collate: Callable[[AnyMethod, Source, Stage], Encode]
    facts: Sequence[Any]


def start_from(trunk: Trunk, task: TrainingTask, place: TrunkPlace) -> TrainingTask:
    """The task with the trained trunk as the tower of every arm and seed. Where the trunk's loss stayed at what equal
    answers give (the gauge `trivial_loss`), the task says that nothing is to be trained on it.

    Args:
        trunk: see `Trunk`; with a budget of 0 it is not trained.
        task: of one arm and seed.
        place: where the trunk is trained, unless the cache holds it.

    Raises:
        DeixisError: the method trains no image tower, or in several stages.
    """
    tower, parts = _untrained(trunk, task)
    if not trunk.budget:
        return dataclasses.replace(task, encoder=lambda number: copy.deepcopy(tower))
    path = _path(trunk, place.facts)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".lock"), "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two processes one trains, and the other reads
        if not path.exists():
            _train(trunk, place, (copy.deepcopy(tower), parts), path)
    tower.load_state_dict(load_file(path))
    found = load_facts(path)
    loss, trivial = found["loss"], found["trivial"]
    refused = (
        f"the trunk did not learn: its loss ended at {loss:.3g}, and {trivial:.3g} is that of equal answers; no arm "
        "was trained"
        if trivial is not None and loss >= _TRIVIAL * trivial
        else ""
    )
    return dataclasses.replace(task, encoder=lambda number: copy.deepcopy(tower), refused=refused)


def _untrained(trunk: Trunk, task: TrainingTask) -> tuple[Any, tuple[str, ...]]:
    """The tower, and the names of the parts that it is of the method."""
    parts = tuple(part.name for part in read(trunk.method).card.parts if part.kind == _KIND)
    if not parts:
        raise DeixisError(f"{trunk.method} has no image tower that could be a trunk.", "Name a method that has one.")
    named = trunk.overrides.get(parts[0])
    return task.encoder(trunk.seed) if named is None else zoo.load_part(_KIND, named, seed=trunk.seed), parts


def _path(trunk: Trunk, facts: Sequence[Any]) -> Path:
    surroundings = [torch.__version__, torch.backends.cpu.get_cpu_capability()]
    text = json.dumps([dataclasses.asdict(trunk), *facts, *surroundings], sort_keys=True, default=str)
    return cache_dir("trunks", f"{hashlib.sha256(text.encode()).hexdigest()[:16]}.safetensors")


def _train(trunk: Trunk, place: TrunkPlace, tower: tuple[Any, tuple[str, ...]], path: Path) -> None:
    network, parts = tower
    task, first = place.task(trunk.seed), parts[0]
    method = trained(build(trunk.method, "desk", trunk.overrides, dict.fromkeys(parts, network), trunk.seed))
    steps, losses = max(1, trunk.budget // task.batch_size), list[Mapping[str, float]]()
    order = SampleOrder(task.batch_size, seed=trunk.seed, shuffle=True, last="drop")

    def on_step(progress: Progress, found: Losses) -> None:
        losses.append({"loss": float(found.total.detach()), **_trivial(found)})

    begun = path.with_suffix(".run.safetensors")
    with Loader(task.train, place.collate(method, task.train, _stage(trunk, method)), order, workers=1) as loader:
        run = Training(method, loader, steps, stage=_stage(trunk, method), seed=trunk.seed)
        run.run(on_step, checkpoint=begun, every=max(1, steps // _WRITES))
    last = losses[-max(1, round(_LAST * steps)) :]
    trivial = [each["trivial"] for each in last if "trivial" in each]
    facts = {"loss": mean(each["loss"] for each in last), "trivial": mean(trivial) if trivial else None}
    save_state(getattr(method, first), path, facts)
    begun.unlink(missing_ok=True)


def _trivial(found: Losses) -> dict[str, float]:
    value = found.metrics.get("trivial_loss")
    return {} if value is None else {"trivial": float(value)}


def _stage(trunk: Trunk, method: AnyMethod) -> Stage:
    every = stages(method)
    if len(every) != 1 or every[0].kind != "train":
        raise DeixisError(f"{trunk.method} trains in several stages.", "Name a method with one as the trunk's.")
    return every[0]
