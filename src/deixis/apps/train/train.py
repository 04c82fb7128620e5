"""`deixis train`: a method, its data, its stages in turn; one process or many, begun or taken up again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from deixis import engine, zoo
from deixis.apps.common.console import Reporter
from deixis.apps.common.loading import tell_weights
from deixis.apps.common.options import Reading
from deixis.apps.common.resume import RESULT, begin, finished
from deixis.apps.common.runs import Clock, reserve, versions
from deixis.apps.common.settings_keywords import takes_settings
from deixis.apps.few_shot.classifier import FewShotClassifier
from deixis.apps.train import method_runs
from deixis.apps.train.callbacks import ProgressCallback, Show, TensorBoardWriter
from deixis.apps.train.captions import cut_notes, read_learned, with_captions
from deixis.apps.train.compared_encoders import compare_run
from deixis.apps.train.control_comparison import CONTROL, compare_with_control, control_settings
from deixis.apps.train.encoder_report import TrainResult, encoder_sentence
from deixis.apps.train.image_files import write_image_files
from deixis.apps.train.negatives import with_negatives
from deixis.apps.train.same_thing import share_found_again
from deixis.apps.train.settings import TrainSettings
from deixis.apps.train.setup import TrainingJob, prepare, stage_order
from deixis.apps.train.summary import compare_answers, tell
from deixis.data.loading.loader import Loader, skip_log
from deixis.data.loading.sampler import SampleOrder
from deixis.engine.evaluation.retrieval_eval import held_out, measured_on
from deixis.engine.export.export_encoder import trained_encoder
from deixis.engine.passages_eval import answers_found, finds_passages
from deixis.engine.training import launch
from deixis.engine.training.batching import collate_for, encoder_of, needs_of
from deixis.engine.training.checkpoint import load_facts, load_state, save_state
from deixis.engine.training.monitor import CollapseWarning, Journal, Monitor, peak_mb
from deixis.engine.training.precision import chosen_precision
from deixis.engine.training.shard import Shards
from deixis.engine.training.stages import group_size
from deixis.engine.training.train import Numerics, Training, fit
from deixis.errors import DeixisError
from deixis.files import explained, write_json
from deixis.nn.compute import computing
from deixis.ops.collective import rank, total, world_size
from deixis.ops.sharding import has_shares
from deixis.types import Source, Stage
from deixis.types.batch import CORE_FIELDS
from deixis.zoo.training_images import image_hashes, write_training_images

__all__ = ["train"]

_MEASURED = 5
"""Times that a run is measured where nothing else is wished."""


@takes_settings(settings=TrainSettings, reading=Reading)
def train(
    name: str,
    data: str | Source | Mapping[str, str | Source],
    out: str | Path = "deixis-run",
    settings: TrainSettings | None = None,
    reading: Reading | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Mapping[str, Any]:
    """Trains a method and writes a run folder: the trained model, `method.safetensors`, `metrics.jsonl`, `result.json`.

    Stages come in turn: gradient steps, or one pass over the data; what is built without either is built and saved.
    `deixis.load(out)` opens the model of the run, `deixis.load_method(out)` the method.

    A run of the same settings that was begun in `out` goes on; on a processor it ends with the same weights as one that
    was never stopped, bit for bit. Under `torchrun`, all ranks call this alike.

    Args:
        name: of the method.
        data: a folder, a csv / tsv / jsonl, shards, `set:NAME`, or a source that was read already; or several of these
            by name, the run's own under an empty one, for stages that draw from others.
        out: the run folder.
        settings: the preset, steps, batches and the like.
        reading: columns and the like, where they are not to be guessed.
        overwrite: replace a run that is there.
        quiet: print nothing.

    Returns:
        What stands in `result.json`.

    Raises:
        DeixisError: the data lacks what the method needs, `out` is taken, a loss or gradient is not finite, or another
            rank is gone.
    """
    settings = settings or TrainSettings()
    TensorBoardWriter.wanted(settings.tensorboard)
    with computing(settings.device), launch.ranks(settings.timeout):
        own, sources = _sources(name, data, settings.source, reading)
        own = with_captions(name, own, settings)
        talk = Reporter(quiet or rank() > 0)
        tell_weights([settings.model, *(each.partition("=")[2] for each in settings.set)], talk.say)
        lesson = prepare(name, own, settings, sources, talk)
        lesson = dataclasses.replace(lesson, notes=(*lesson.notes, *cut_notes(lesson.method, lesson.source)))
        result = _Run(lesson, Path(out), settings, talk).go(overwrite)
        if (control := control_settings(name, settings)) is not None:
            result = compare_with_control(lesson, Path(out), result, lambda: _control(name, own, out, control), talk)
        return TrainResult(result)


def _control(name: str, own: Source, out: str | Path, settings: TrainSettings) -> None:
    """The same training without what the method adds."""
    talk = Reporter(quiet=True)
    _Run(prepare(name, own, settings, talk=talk), Path(out) / CONTROL, settings, talk).go(overwrite=False)


def _sources(
    method: str, data: str | Source | Mapping[str, str | Source], further: Sequence[str], reading: Reading | None
) -> tuple[Source, dict[str, Source]]:
    """The run's own source, and the others by name."""
    named: dict[str, str | Source] = dict(data) if isinstance(data, Mapping) else {"": data}
    for each in further:
        name, mark, path = each.partition("=")
        if not mark or not name or not path:
            raise DeixisError(f"--source {each!r} names no data.", "Write it as NAME=PATH.")
        named[name] = path
    if "" not in named:
        raise DeixisError("The data of the run itself is missing.", "Give it under an empty name.")
    read_ones = {name: read_learned("" if name else method, each, reading) for name, each in named.items()}
    return read_ones.pop(""), read_ones


class _Run:
    """One run in its folder."""

    def __init__(self, lesson: TrainingJob, out: Path, settings: TrainSettings, talk: Reporter) -> None:
        self.lesson, self.out, self.settings, self.talk = lesson, out, settings, talk
        device = launch.device()
        self.shards = Shards(engine.trained(lesson.method), device) if settings.shard else None
        self.method = lesson.method.to(device)
        self.numerics = Numerics(settings.clip or None, chosen_precision(settings.precision, device))
        self.journal, self.gauge, self.clock = Journal(out / "metrics.jsonl"), CollapseWarning(), Clock()
        self.skipped = 0

    def go(self, overwrite: bool) -> Mapping[str, Any]:
        """Begins or goes on, to the end."""
        self._say_all(self.lesson.notes)
        if self.shards is not None and world_size() == 1:
            self.talk.say("--shard changes nothing: there is one process, and it holds all.")
        _reservation = reserve(self.out)
        again = begin(self.out, self._what(), overwrite) if rank() == 0 else False
        _together()
        done = finished(self.out)
        if done is not None:
            self.talk.result(f"{self.out} holds this run, finished.")
            return done
        with explained(self.out), contextlib.closing(self.lesson.columns):
            self._make_columns()
            before, last = self._train(again)
            whole = self.method.to("cpu") if self.shards is None else self.shards.whole()
            if whole is None or rank() > 0:
                return {}
            self.method = whole
            return self._finish(before, last)

    def _what(self) -> dict[str, Any]:
        """All that decides the weights at the end."""
        numerics = {"chunk": self.settings.chunk, **dataclasses.asdict(self.numerics)}
        return {"verb": "train", **self.lesson.to_dict(), **numerics, "seed": self.settings.seed, "ranks": world_size()}

    def _say_all(self, notes: tuple[str, ...]) -> None:
        for note in notes:
            self.talk.say(note)

    def _make_columns(self) -> None:
        """What frozen parts make of the samples, ahead of the first step."""
        if not self.lesson.columns.calls():
            return
        with self.talk.bar("columns made by frozen parts") as bar:
            for stage in self.lesson.stages:
                names = {spec.name for spec in needs_of(self.method, stage)}
                self.lesson.columns.make(self.lesson.source_of(stage), bar, names)
        _together()

    # --- training -----------------------------------------------------------------------------------------------------

    def _checkpoint(self, stage: int) -> Path:
        return self.out / f"checkpoint-{stage}.safetensors"

    def _reached(self) -> tuple[int, int]:
        """The stage and step that the last checkpoint is of; stages before it need not be looked at."""
        for index in reversed(range(len(self.lesson.stages))):
            if self._checkpoint(index).exists():
                return index, int(load_facts(self._checkpoint(index)).get("done", 0))
        return 0, 0

    def _train(self, again: bool) -> tuple[dict[str, float], dict[str, float]]:
        """All stages that are left; what is held out before and after."""
        start, done = self._reached()
        if rank() == 0:
            self.journal.rewind(start, done)
        _together()
        lines = self.journal.lines()
        if again:
            self.talk.say(f"{self.out} was started before; resuming at step {done}.")
        measured = [line["held_out"] for line in lines if "held_out" in line]
        if not measured and self.lesson.held is not None:
            measured = [self._measure()]
            if rank() == 0:
                steps = next(iter(self.lesson.steps), 0)
                self.journal.write({"stage": 0, "step": 0, "of": steps, "held_out": measured[0]})
        for each in measured:
            self.gauge.note({name: value for name, value in each.items() if name.endswith("rank")})
        seconds = max((line.get("seconds", 0.0) for line in lines), default=0.0)
        passed = sum(self.lesson.steps[:start]) + done
        board = TensorBoardWriter(self.out / "tensorboard", self.settings.tensorboard, passed + 1)
        with contextlib.closing(board), self.talk.panel(f"train {self.lesson.name}") as show:
            for index in range(start, len(self.lesson.stages)):
                self._stage(index, board, show, seconds)
        lines = [line["held_out"] for line in self.journal.lines() if "held_out" in line] or [{}]
        return lines[0], lines[-1]

    def _stage(self, index: int, board: TensorBoardWriter, show: Show, seconds: float) -> None:
        stage, settings, lesson = self.lesson.stages[index], self.settings, self.lesson
        if stage.kind == "fit":
            self._fit(index, stage)
            return
        steps = lesson.steps[index]
        source = with_negatives(
            self.method, stage, lesson.source_of(stage), self.out, settings.seed, self.talk, _together
        )
        with self._loader(source, stage, stage_order(lesson.order, stage)) as data:
            training = Training(
                engine.trained(self.method),
                data,
                steps,
                stage=stage,
                seed=settings.seed,
                chunk=settings.chunk or None,
                numerics=self.numerics,
            )
            every = (settings.measure_every or -(-steps // _MEASURED)) if lesson.held is not None else 0
            watch = ProgressCallback(
                monitor=Monitor(training, index, seconds + self.clock.read()["total"]),
                journal=self.journal,
                board=board,
                talk=self.talk,
                show=show,
                log_every=settings.log_every,
                measure_every=every,
                measure=self._measure,
                gauge=self.gauge,
                method=self.method,
                samples=len(source.samples),
                before=sum(lesson.steps[:index]),
            )
            training.run(watch, checkpoint=self._checkpoint(index), every=settings.checkpoint_every)
            self.skipped = max(self.skipped, len(data.skipped))

    def _fit(self, index: int, stage: Stage) -> None:
        """A stage that sees the data once; each rank sees all of it."""
        path, size = self._checkpoint(index), self.lesson.order.batch_size
        if path.exists():
            load_state(self.method, path)
        else:
            order = SampleOrder(size, shuffle=False, last="keep")
            with self._loader(self.lesson.source_of(stage), stage, order, (0, 1)) as data:
                fit(self.method, data, stage, self.settings.seed)
                self.skipped = max(self.skipped, len(data.skipped))
            if rank() == 0 or has_shares(self.method):
                save_state(self.method, path, {"done": 1})
            _together()
        measured = [line for line in self.journal.lines() if line["stage"] == index and "held_out" in line]
        if self.lesson.held is not None and not [line for line in measured if line["step"]]:
            held_out = self._measure()
            if rank() == 0:
                self.journal.write({"stage": index, "step": 1, "of": 1, "held_out": held_out})

    def _loader(self, source: Source, stage: Stage, order: SampleOrder, ranks: tuple[int, int] | None = None) -> Loader:
        number = f"-{rank()}" if rank() else ""
        # Classes and groups are numbered by all samples, of which those that train and those held out are a part.
        whole = self.lesson.sources.get(stage.data, self.lesson.source)
        return Loader(
            source,
            collate_for(self.method, whole, stage, self.lesson.columns),
            order,
            workers=self.settings.workers,
            ranks=ranks,
            max_skipped=self.settings.max_skipped,
            on_skip=skip_log(self.out / f"skipped{number}.jsonl"),
        )

    def _measure(self) -> dict[str, float]:
        """On what is held out; all ranks measure all of it, so that none is waited for."""
        held = self.lesson.held
        assert held is not None
        order = SampleOrder(min(64, len(held.samples)), shuffle=False, last="keep")
        if finds_passages(self.method):
            with self._loader(held, Stage(), order, (0, 1)) as data:
                return answers_found(self.method, data)
        needs = measured_on(self.method)
        with self._loader(held, Stage(needs=needs), order, (0, 1)) as data:
            found = held_out(self.method, data)
        if group_size(self.method) > 1:
            fields = tuple(CORE_FIELDS[name] for name in ("images", "groups"))
            with self._loader(held, Stage(needs=fields), order, (0, 1)) as data:
                found["same_thing"] = share_found_again(self.method, data)
        return found

    # --- the end ------------------------------------------------------------------------------------------------------

    def _finish(self, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Any]:
        """All files of the finished run, `result.json` last; the checkpoints are then not needed."""
        what, compared = self._what(), self._compared()
        facts = method_runs.facts_of(self.method, what, self.settings.config, self.settings.set)
        result = {
            "format": 1,
            **what,
            **{key: facts[key] for key in ("preset", "overrides", "parts")},
            **({"kind": "classes"} if self.lesson.classes else {}),
            "model": self._save_model(),
            "before": before,
            "after": after,
            "difference": {name: after[name] - before[name] for name in after if name in before},
            **compared,
            "skipped": self.skipped,
            "seconds": self.clock.read(),
            "peak_mb": round(peak_mb(), 1),
            "device": str(launch.device()),
            "versions": versions(),
        }
        save_state(self.method, self.out / method_runs.STATE, facts)
        if self.lesson.images is not None:
            result |= write_image_files(self.method, self.lesson.images.data, self.out)
        sources = [self.lesson.train, *self.lesson.sources.values()]
        write_training_images(self.out, image_hashes(sample for source in sources for sample in source.samples))
        method_runs.write_card(self.method, self.out, result)
        write_json(self.out / RESULT, result)
        for index in range(len(self.lesson.stages)):
            self._checkpoint(index).unlink(missing_ok=True)
        tell(self.lesson, result, self.out, self.talk)
        return result

    def _compared(self) -> dict[str, Any]:
        """Of a method that learns from images alone: what its tower is good for, beside others; of one that was asked
        about columns: how many answers are right."""
        lesson = self.lesson
        if lesson.asked is not None:
            return {"answers": compare_answers(self.method, lesson.train, lesson.asked, self.talk)}
        if lesson.images is None or lesson.start is None:
            return {}
        found = compare_run(lesson.images, lesson.start(), self.method, self.out, self.talk)
        return {"encoders": found, "sentence": encoder_sentence(found)} if "copies" in found else {}

    def _save_model(self) -> dict[str, Any] | None:
        """Writes the classifier, or else the trained encoder, where there is one that can be loaded again."""
        if self.lesson.classes:
            ids = [sample.id for sample in self.lesson.train.samples]
            FewShotClassifier.of(self.method, self.lesson.classes, ids).write(self.out)
            encoder = encoder_of(self.method)
            assert encoder is not None
            return {"name": encoder.name, "fingerprint": encoder.fingerprint(), "scale": encoder.scale}
        try:
            encoder = trained_encoder(self.method)
        except DeixisError as error:
            self.talk.say(f"The encoder can't be saved as a model of its own, and is in method.safetensors: {error}")
            return None
        if encoder is None:
            return None
        zoo.save(encoder, self.out / "model")
        return {"name": encoder.name, "fingerprint": encoder.fingerprint(), "scale": encoder.scale}


def _together() -> None:
    """Waits for all ranks."""
    total(torch.zeros(1, device=launch.device()))
