"""One unit of a claim: an arm, its settings, a seed. It is trained and measured, and what came out is a small file.

A unit that was killed goes on from its checkpoint; one that is done is not done again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deixis.data.loading.loader import Encode, Loader
from deixis.data.loading.sampler import SampleOrder
from deixis.engine.claims import measures
from deixis.engine.claims.claim_tasks import CurveTask, TrainingTask, part_hash
from deixis.engine.claims.drawn_once import task_drawn_once
from deixis.engine.claims.outcomes import Cost, TrialResult
from deixis.engine.claims.source_code import THREADS, passed_through, source_hash
from deixis.engine.claims.trunks.trained_trunk import TRUNK, TrunkPlace, start_from
from deixis.engine.features.columns import WithColumns
from deixis.engine.training.batching import collate_for
from deixis.engine.training.build import build
from deixis.engine.training.checkpoint import load_facts, load_state, save_state
from deixis.engine.training.stages import group_size, same_column, stage_batch, stages, trained
from deixis.engine.training.train import Training, fit
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.methods import read
from deixis.nn.compute import computing, on_threads
from deixis.types import Losses, Progress, Source, Stage, Trunk
from deixis.types.protocols import AnyMethod
from deixis.types.samples import Drawing

__all__ = ["BACKEND", "THREADS", "Cost", "Trial", "TrialBackend", "cost", "run_trial"]

_WRITES = 10
"""How often a unit keeps its weights."""

_PILOT = 4
"""Steps that are timed, the first being left out."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """What is trained and measured.

    Attributes:
        paper: whose claim it is.
        claim: fingerprint of the claim.
        arm: name of the arm.
        method: that is trained.
        settings: what differs from its `desk` preset.
        task: where it trains.
        options: of the task; and `TRUNK`.
        metric: that is measured.
        budget: images it sees.
        seed: of the data, the first weights and the order.
        split: what it is measured on.
        points: of the learning curve, the first before training.
        code: fingerprint of the method's source.
        changed: whether the code is not as committed; what it gave is no evidence, and is done again once it is.
    """

    paper: str
    claim: str
    arm: str
    method: str
    settings: Mapping[str, Any]
    task: str
    options: Mapping[str, Any]
    metric: str
    budget: int
    seed: int
    split: Literal["validation", "test"]
    points: int
    code: str = ""
    changed: bool = False

    @property
    def name(self) -> str:
        """Of its file: different where anything is."""
        facts = dataclasses.asdict(self)
        facts["arena"] = facts.pop("task")  # its name when the files were written that people have
        text = json.dumps(facts, sort_keys=True, default=str)
        arm = "".join(each if each.isalnum() else "_" for each in self.arm)
        return f"{arm}-{self.split}-{self.seed}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"

    @property
    def training(self) -> str:
        """Equal where the trained weights are: units that differ in what is measured of them only."""
        decisive = (self.method, self.settings, self.task, self.options, self.budget, self.seed, self.code)
        text = json.dumps((*decisive, self.changed), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _nothing(method: str, task: str) -> dict[str, str]:
    """No code beside that of the method."""
    return {}


def _unknown(metric: str, method: AnyMethod, source: Source) -> None:
    """No level of chance."""


@dataclasses.dataclass(frozen=True)
class TrialBackend:
    """What a unit is run with; tests give toys.

    Attributes:
        task: (name, options, seed) -> where it trains; or, where curves do not run over
            steps, `CurveTask`.
        build: (method, settings, task, seed) -> the method.
        collate: (method, source, stage) -> what makes batches.
        measure: (metric, method, source) -> one value a query; their mean is reported.
        code: method -> a fingerprint of its source.
        chance: (metric, method, source) -> what guessing gives; None where that is not known.
        around: (method, task) -> module -> a fingerprint, of the code that a unit passes through beside the method's.
    """

    task: Callable[[str, Mapping[str, Any], int], TrainingTask | CurveTask]
    build: Callable[[str, Mapping[str, Any], TrainingTask, int], AnyMethod]
    collate: Callable[[AnyMethod, Source, Stage], Encode]
    measure: Callable[[str, AnyMethod, Source], Float[Tensor, " Q"]]
    code: Callable[[str], str] = source_hash
    chance: Callable[[str, AnyMethod, Source], float | None] = _unknown
    around: Callable[[str, str], Mapping[str, str]] = _nothing


def _build(name: str, settings: Mapping[str, Any], task: TrainingTask, seed: int) -> AnyMethod:
    makers = {**dict.fromkeys(("dual_encoder", "image_tower"), task.encoder), **task.parts}
    parts = {part.name: makers[part.kind](seed) for part in read(name).card.parts if part.kind in makers}
    return build(name, "desk", settings, parts, seed)


BACKEND = TrialBackend(
    task_drawn_once, _build, collate_for, measures.values, source_hash, measures.chance, passed_through
)
"""The real one."""


def run_trial(unit: Trial, folder: Path, lab: TrialBackend = BACKEND, commit: str = "") -> TrialResult:
    """Runs a unit, or goes on with it, or reads what came out of it before.

    Training that fails (a loss that is not finite, a setting that can't be) is an outcome where settings are tried, and
    an error where results are reported. The weights of those are saved, and a unit of two points that would train the
    same is measured on them.

    Args:
        unit: what is run.
        folder: where its file lies; made if missing.
        lab: what it is run with.
        commit: of the code.

    Raises:
        DeixisError: the task can't be made, or a unit that reports failed.
    """
    path = folder / f"{unit.name}.json"
    if path.exists():
        return _read(path)
    with on_threads(THREADS):
        outcome = _run(unit, folder, lab)
    outcome = dataclasses.replace(outcome, commit=commit)
    write_json(path, {"unit": dataclasses.asdict(unit), **dataclasses.asdict(outcome)})
    for rest in [folder / f"{unit.name}.curve.json", *folder.glob(f"{unit.name}.*.safetensors")]:
        rest.unlink(missing_ok=True)
    return outcome


def _task_of(unit: Trial, lab: TrialBackend, whole: bool = True) -> TrainingTask | CurveTask:
    """Where a unit is trained; with an untrained trunk, where its time alone matters."""
    options = dict(unit.options)
    trunk = options.pop(TRUNK, None)
    task = lab.task(unit.task, options, unit.seed)
    if trunk is None:
        return task
    assert isinstance(task, TrainingTask), "the others build their own networks"
    trunk = Trunk(**trunk) if isinstance(trunk, Mapping) else trunk  # from a row
    facts = (unit.task, options, lab.code(trunk.method), dict(lab.around(trunk.method, unit.task)))
    place = TrunkPlace(lambda seed: lab.task(unit.task, options, seed), lab.collate, facts)  # type: ignore[arg-type,return-value]
    return start_from(trunk if whole else dataclasses.replace(trunk, budget=0), task, place)


def _run(unit: Trial, folder: Path, lab: TrialBackend) -> TrialResult:
    task = _task_of(unit, lab)
    try:
        with computing("cpu"):  # rows of all machines are compared with each other
            return _outcome(unit, task, folder, lab)
    except DeixisError as error:
        if unit.split == "test":
            raise DeixisError(
                f"The arm {unit.arm!r} failed with seed {unit.seed}: {error.found}", error.cure
            ) from error
        return TrialResult((), 0.0, str(error))


def _read(path: Path) -> TrialResult:
    found = json.loads(path.read_text(encoding="utf-8"))
    curve = tuple((float(images), float(value)) for images, value in found["curve"])
    more = {name: found[name] for name in ("chance", "queries", "part", "untrained") if name in found}
    values = tuple(found.get("values", ()))
    return TrialResult(curve, found["seconds"], found["failed"], found["commit"], values, **more)


def _outcome(unit: Trial, task: TrainingTask | CurveTask, folder: Path, lab: TrialBackend) -> TrialResult:
    """By steps; or all at once, where the curve does not run over steps."""
    if isinstance(task, TrainingTask):
        return _Run(unit, task, folder, lab).outcome()
    folder.mkdir(parents=True, exist_ok=True)
    found = task.curve(unit.method, unit.settings, unit.metric, unit.split, unit.budget)
    values = _rounded(found.values)
    return TrialResult(
        found.points, found.seconds, values=values, chance=found.chance, queries=len(values), part=found.part
    )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    """With as many digits as resampling needs, since all of them stand in the rows."""
    return tuple(round(float(each), 5) for each in values)


class _Run:
    """A unit while it runs."""

    def __init__(self, unit: Trial, task: TrainingTask, folder: Path, lab: TrialBackend) -> None:
        self._unit, self._task, self._lab, self._place = unit, task, lab, folder / unit.name
        whole = unit.budget // task.batch_size
        self._steps = round(whole * task.share)
        self._end = whole if self._steps < whole else 0
        if not 2 <= unit.points <= self._steps + 1:
            raise DeixisError(
                f"{unit.budget} images in batches of {task.batch_size} are {self._steps} steps, and a curve of "
                f"{unit.points} points is requested.",
                "Give a larger budget or smaller batches.",
            )
        self._trained = folder / "trained" / f"{unit.training}.safetensors"
        self._now = time.perf_counter if torch.cuda.is_available() else time.process_time
        self._marks = {round(self._steps * i / (unit.points - 1)) for i in range(unit.points)}
        self._method = lab.build(unit.method, unit.settings, task, unit.seed)
        self._curve: dict[int, float] = {}
        self._values: tuple[float, ...] = ()
        self._spent, self._taken, self._pace = 0.0, 0, 0.0
        self._held = task.validation if unit.split == "validation" else task.test

    def outcome(self) -> TrialResult:
        """Trains to the end, or reads what was trained for another measure."""
        self._place.parent.mkdir(parents=True, exist_ok=True)
        if self._task.refused:
            self._mark(0)
            self._curve[self._steps], seconds = self._curve[0], 0.0
        else:
            seconds = self._reread() if len(self._marks) == 2 and self._trained.exists() else self._train()
        size = self._task.batch_size
        curve = tuple((float(step * size), self._curve[step]) for step in sorted(self._curve))
        if self._end:  # what was stopped early stays as it is
            curve = (*curve, (float(self._end * size), curve[-1][1]))
        chance = self._lab.chance(self._unit.metric, self._method, self._held)
        queries, part, refused = len(self._values), part_hash(self._held), self._task.refused
        return TrialResult(
            curve, seconds, values=self._values, chance=chance, queries=queries, part=part, untrained=refused
        )

    def _reread(self) -> float:
        """Measures before and after a training that was done; returns its seconds."""
        self._mark(0)
        load_state(self._method, self._trained)
        self._mark(self._steps)
        return float(load_facts(self._trained)["seconds"])

    def _train(self) -> float:
        """Seconds that it took."""
        saved = Path(f"{self._place}.curve.json")
        if saved.exists():
            before = json.loads(saved.read_text(encoding="utf-8"))
            self._curve, self._pace = {int(step): value for step, value in before["curve"].items()}, before["pace"]
            self._values = tuple(before.get("values", ()))
        self._mark(0)
        share, done = 0.0, 0
        for number, stage in enumerate(stages(self._method)):
            share += stage.steps if stage.kind == "train" else 0.0
            end = min(round(share * self._steps), self._steps)
            self._stage(number, stage, end - done, done)
            done = end
        self._mark(self._steps)
        if self._unit.split == "test":
            self._trained.parent.mkdir(exist_ok=True)
            save_state(self._method, self._trained, {"seconds": self._pace * done})
        return self._pace * done

    def _loader(self, stage: Stage) -> Loader:
        source = self._task.sources[stage.data] if stage.data else self._task.train
        encode = self._lab.collate(self._method, source, stage)
        if isinstance(encode, WithColumns):
            encode.make(source)
        training, group = stage.kind == "train", group_size(self._method)
        last: Literal["drop", "keep"] = "drop" if training else "keep"
        size = stage_batch(self._task.batch_size, stage, group)
        same = same_column(self._method)
        order = SampleOrder(size, seed=self._unit.seed, shuffle=training, last=last, group=group, same=same)
        return Loader(source, encode, order, workers=1)

    def _stage(self, number: int, stage: Stage, steps: int, done: int) -> None:
        with self._loader(stage) as loader:
            if stage.kind == "fit":
                fit(self._method, loader, stage, self._unit.seed)
            elif steps:
                run = Training(trained(self._method), loader, steps, stage=stage, seed=self._unit.seed)
                every = max(1, self._steps // _WRITES)
                self._clock = self._now()
                run.run(self._watch(done), checkpoint=f"{self._place}.{number}.safetensors", every=every)

    def _watch(self, done: int) -> Callable[[Progress, Losses], None]:
        """Measures where the curve has a point; the time this takes is not counted."""

        def on_step(progress: Progress, losses: Losses) -> None:
            self._spent += self._now() - self._clock
            self._taken += 1
            self._pace = self._spent / self._taken
            if done + progress.step in self._marks:
                self._mark(done + progress.step)
            self._clock = self._now()

        return on_step

    def _measured(self) -> Float[Tensor, " Q"]:
        """One value a query, by the task's own measure where it has one of that name."""
        own = self._task.measures.get(self._unit.metric)
        return (
            self._lab.measure(self._unit.metric, self._method, self._held)
            if own is None
            else own(self._method, self._held)
        )

    def _mark(self, step: int) -> None:
        """A point of the curve; written at once, for after a kill the steps before the checkpoint do not come again."""
        if step in self._curve:
            return
        with torch.random.fork_rng(devices=[]):
            values = self._measured()
        self._curve[step], self._values = float(values.mean()), _rounded(values.tolist())
        facts = {"curve": self._curve, "pace": self._pace, "values": self._values}
        write_json(f"{self._place}.curve.json", facts)

    @property
    def steps(self) -> int:
        """Of training."""
        return self._steps

    def timed(self) -> tuple[float, float, float]:
        """Seconds of a step, of measuring, and of drawing what is trained on once; the method is worth nothing then."""
        task, start = self._task, self._now()
        few = dataclasses.replace(task.train, samples=task.train.samples[: 2 * task.batch_size])
        for sample in few.samples:
            if isinstance(sample.image, Drawing):
                sample.image.draw()
        seen = min(self._steps * task.batch_size, len(task.train.samples))
        drawing = (self._now() - start) / len(few.samples) * seen
        self._task, times = dataclasses.replace(task, train=few), list[float]()
        for stage in [each for each in stages(self._method) if each.kind == "train"][:1]:
            with self._loader(stage) as loader:
                run = Training(trained(self._method), loader, _PILOT, stage=stage)
                run.run(lambda progress, losses: times.append(self._now()))
        start = self._now()
        self._measured()
        measure = self._now() - start
        return (times[-1] - times[0]) / (len(times) - 1) if times else 0.0, measure, drawing


def cost(unit: Trial, folder: Path, lab: TrialBackend = BACKEND) -> Cost:
    """What a unit takes, from a few steps of it; cached in a file."""
    path = folder / f"{unit.name}.cost.json"
    if not path.exists():
        with on_threads(THREADS), computing("cpu"):
            write_json(path, dataclasses.asdict(_cost(unit, folder, lab)))
    return Cost(**json.loads(path.read_text(encoding="utf-8")))


def _cost(unit: Trial, folder: Path, lab: TrialBackend) -> Cost:
    start, busy = time.perf_counter(), time.process_time()
    task = _task_of(unit, lab, whole=False)
    if not isinstance(task, TrainingTask):
        busy, start, training = time.process_time(), time.perf_counter(), 0.0
        task = lab.task(unit.task, unit.options, unit.seed)  # again: what is cached takes its time once, not each time
        assert not isinstance(task, TrainingTask)
        measuring = time.process_time() - busy + task.longest(unit.method, unit.settings, unit.metric, unit.budget)
    else:
        run = _Run(unit, task, folder, lab)
        setup = time.process_time() - busy
        step, measure, drawing = run.timed()
        training, measuring = run.steps * step + drawing, setup + unit.points * measure
    cores = (time.process_time() - busy) / (time.perf_counter() - start)
    return Cost(training + measuring, cores, measuring)
