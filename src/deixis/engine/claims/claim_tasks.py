"""The tasks of claims, where arms meet: found by listing `tasks`, read without importing, made from options and a seed.

A file there declares `TASK` (a `TaskCard`) and a dataclass `Options`, both literals, and has `make(options, seed)`.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, runtime_checkable

from deixis.errors import DeixisError
from deixis.types import Source, cards
from deixis.types.cards import TaskCard
from deixis.types.literals import parse, read_declared

if TYPE_CHECKING:  # the page of papers reads cards without torch
    from torch import Tensor

    from deixis.nn.dual import DualEncoder
    from deixis.nn.encoders import ImageHalf

__all__ = [
    "CurveResult",
    "CurveTask",
    "TaskLiterals",
    "TrainingTask",
    "list_tasks",
    "make_task",
    "part_hash",
    "read_task",
    "require_least",
]

_FOLDER = Path(__file__).parent / "tasks"


def require_least(options: Any, **least: int) -> None:
    """Refuses options of a task that are too low.

    Args:
        options: the dataclass.
        **least: field -> the lowest number that it may be.

    Raises:
        DeixisError: one is lower.
    """
    for name, number in least.items():
        if getattr(options, name) < number:
            raise DeixisError(f"{name} is {getattr(options, name)}.", f"It must be {number} or more.")


@dataclasses.dataclass(frozen=True)
class TrainingTask:
    """Data and encoders of one arm and seed.

    Attributes:
        train: what the arm learns from.
        validation: what its settings are chosen by.
        test: what is reported; read once, with the settings chosen.
        encoder: seed -> a new dual encoder of random weights, whose vocabulary is that of `train`; or an image tower.
        batch_size: pairs a step.
        sources: further data, by the name that stages draw from it by.
        measures: metrics of this task alone: (method, held-out samples) -> one value a query.
        share: of the budget after which training stops; the model stays as it is then.
        parts: kind of part -> seed -> a part of that kind, which methods are built on in place of what they name.
        refused: why nothing is to be trained on it; empty where it is.
    """

    train: Source
    validation: Source
    test: Source
    encoder: Callable[[int], DualEncoder | ImageHalf]
    batch_size: int
    sources: Mapping[str, Source] = dataclasses.field(default_factory=dict)
    measures: Mapping[str, Callable[[Any, Source], Tensor]] = dataclasses.field(default_factory=dict)
    share: float = 1.0
    parts: Mapping[str, Callable[[int], Any]] = dataclasses.field(default_factory=dict)
    refused: str = ""


class CurveResult(NamedTuple):
    """What came out of an arm whose curve does not run over steps of training.

    Attributes:
        points: what the metric is at each point, ascending.
        seconds: that the method took.
        values: of the queries, at the last point; their mean is the metric. Empty where it is no mean over queries.
        chance: what guessing gives; None where that is not known.
        part: fingerprint of the part that was measured.
    """

    points: tuple[tuple[float, float], ...]
    seconds: float
    values: tuple[float, ...] = ()
    chance: float | None = None
    part: str = ""


@runtime_checkable
class CurveTask(Protocol):
    """A task whose curves run over something else than steps of training: images a class, scenes explained."""

    def curve(
        self,
        method: str,
        settings: Mapping[str, Any],
        metric: str,
        split: Literal["validation", "test"],
        budget: int,
    ) -> CurveResult:
        """The curve of an arm, and what it is made of."""

    def longest(self, method: str, settings: Mapping[str, Any], metric: str, budget: int) -> float:
        """About how many seconds a curve takes at the most."""


@dataclasses.dataclass(frozen=True)
class TaskLiterals:
    """What the file of a task declares.

    Attributes:
        name: of the file, hence of the task.
        doc: its docstring.
        card: its `TASK`.
        options: its `Options` class.
    """

    name: str
    doc: str
    card: TaskCard
    options: Any


def _files() -> dict[str, Path]:
    return {path.stem: path for path in sorted(_FOLDER.glob("*.py")) if not path.stem.startswith("_")}


def list_tasks() -> list[str]:
    """Names of all tasks, in alphabetical order."""
    return list(_files())


def read_task(name: str) -> TaskLiterals:
    """What a task declares.

    Raises:
        DeixisError: there is no such task.
        TypeError: its file declares something that is no literal.
    """
    files = _files()
    if name not in files:
        raise DeixisError(f"There is no task {name!r}.", f"There are: {', '.join(files)}.")
    return _read(files[name])


@functools.cache
def _read(path: Path) -> TaskLiterals:
    scope = {"TaskCard": TaskCard, "__name__": cards.__name__}
    found = read_declared(parse(path), path, ("TASK",), "Options", scope, ("TaskCard",))
    return TaskLiterals(path.stem, found["__doc__"], found["TASK"], found["Options"])


def make_task(name: str, options: Mapping[str, Any], seed: int) -> TrainingTask | CurveTask:
    """Makes a task.

    Arms that are given the same seed meet the same data, as far as their options are the same.

    Args:
        name: one of `list_tasks()`.
        options: by name; what is left out is as it is by default.
        seed: of all that is drawn for it.

    Raises:
        DeixisError: there is no such task or option, a value is out of range, or a set that is needed is not in the
            cache (the message says how to fetch it).
    """
    known = [field.name for field in dataclasses.fields(read_task(name).options)]
    for key in options:
        if key not in known:
            raise DeixisError(f"The task {name!r} has no option {key!r}.", f"Its options are: {', '.join(known)}.")
    module = importlib.import_module(f"deixis.engine.claims.tasks.{name}")
    made: TrainingTask | CurveTask = module.make(module.Options(**options), seed)
    return made


def part_hash(source: Source) -> str:
    """A fingerprint of the samples of a part: their names, captions, labels and sizes on disk."""
    facts = [
        (each.id, each.captions, each.label, each.image.stat().st_size if isinstance(each.image, Path) else 0)
        for each in source.samples
    ]
    return hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:16]
