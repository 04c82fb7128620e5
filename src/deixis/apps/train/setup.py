"""What is trained on what: a method built, data sorted into what it learns from and what is held out, steps counted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deixis import engine
from deixis.apps.common.console import Reporter
from deixis.apps.common.overrides import parse_overrides
from deixis.apps.few_shot.training_classes import training_classes
from deixis.apps.train.held_out import divide, one_by_one
from deixis.apps.train.image_division import ImageDivision
from deixis.apps.train.method_runs import require_rebuildable
from deixis.apps.train.negatives import require_negatives
from deixis.apps.train.same_thing import require_things, several_of_each
from deixis.apps.train.settings import TrainSettings
from deixis.data.column_questions import answers_as_captions
from deixis.data.loading.sampler import EpochPlan, SampleOrder, groups_of, shards_of
from deixis.engine.features.columns import PartColumns, read_for
from deixis.engine.fewshot import learners
from deixis.engine.training.batching import collate_for, columns_for, encoder_of, needs_of
from deixis.engine.training.build import configure
from deixis.engine.training.checkpoint import state
from deixis.engine.training.stages import card_of, group_size, same_column, stage_batch
from deixis.errors import DeixisError
from deixis.methods import all_settings
from deixis.methods import read as read_method
from deixis.ops.collective import world_size
from deixis.types import Sample, Source, Stage
from deixis.types.protocols import AnyMethod, HasConfig
from deixis.zoo import scratch

__all__ = ["TrainingJob", "prepare", "stage_order"]

_PASSES, _BATCH = 10, 32
_WORDS = {"tokens", "captions", "spans"}
_NEW = {"layers": "all", "statistics": True}
_UNTRAINED = {
    "optim.learning_rate": 1e-3,
    "optim.warmup": 50,
    "optim.schedule": "cosine",
    "optim.weight_decay": 0.1,
}


@dataclasses.dataclass(frozen=True)
class TrainingJob:
    """A method and what it is trained on.

    Attributes:
        name: of the method.
        method: as it was built.
        source: all samples with what the method needs.
        train: those it learns from.
        held: those it is measured on; None where it is not measured.
        order: of the samples, on each rank.
        steps: of each stage.
        notes: for a person.
        columns: the fields that frozen parts make.
        sources: further ones, by the name that stages know them by.
        images: how encoders are compared at the end, of a method that learns from images alone.
        start: gives the method as it was before training.
        asked: questions about columns, which are put at the end and were not learned from; None: none.
    """

    name: str
    method: AnyMethod
    source: Source
    train: Source
    held: Source | None
    order: SampleOrder
    steps: tuple[int, ...]
    notes: tuple[str, ...]
    columns: PartColumns
    sources: Mapping[str, Source] = dataclasses.field(default_factory=dict)
    images: ImageDivision | None = None
    start: Callable[[], AnyMethod] | None = None
    asked: Source | None = None

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of the method."""
        return engine.stages(self.method)

    @property
    def classes(self) -> tuple[str, ...]:
        """The labels, where the method learns classes from what its encoder says of images."""
        if self.name not in learners.offered():
            return ()
        return tuple(sorted({sample.label for sample in self.source.samples if sample.label}))

    def source_of(self, stage: Stage) -> Source:
        """What a stage draws from."""
        return self.sources[stage.data] if stage.data else self.train

    @property
    def batch_size(self) -> int:
        """Samples a step, over all ranks."""
        return self.order.batch_size * world_size()

    def to_dict(self) -> dict[str, Any]:
        """All that decides what is trained on what, as plain values."""
        held = 0 if self.held is None else len(self.held.samples)
        held = held if self.images is None else self.images.withheld
        held = held if self.asked is None else len(self.asked.samples)
        sources = {name: _facts(source) for name, source in self.sources.items()}
        config = self.method.config if isinstance(self.method, HasConfig) else None
        return {
            "method": self.name,
            "config": {} if config is None else dataclasses.asdict(config),
            "data": _facts(self.source),
            **({"sources": sources} if sources else {}),
            **_vocabulary(self.method),
            "held_out": held,
            "batch_size": self.batch_size,
            "steps": list(self.steps),
        }


def prepare(
    name: str,
    source: Source,
    settings: TrainSettings,
    sources: Mapping[str, Source] | None = None,
    talk: Reporter | None = None,
) -> TrainingJob:
    """Builds the method and sorts the data.

    Args:
        name: of the method.
        source: as it was read.
        settings: what the user wishes.
        sources: further ones, by name, for stages that draw from them.
        talk: receives the progress.

    Raises:
        DeixisError: there is nothing to train or build, a setting is none, or the data lacks what the method needs: all
            before any work is done.
    """
    _check(settings)
    sources, source = dict(sources or {}), one_by_one(name, source)
    if read_method(name).card.kind == "evaluator":
        raise DeixisError(f"{name} measures other methods, and has nothing to train.", "`deixis list` shows what does.")
    method = _build(name, source, settings)
    _require_work(name, method)
    require_rebuildable(name, method)
    lent = _lent(source, method, settings)
    sources = {**lent, **sources}
    _require_sources(name, method, sources)
    usable, notes = _worded(source, method)
    usable, single = several_of_each(usable, method)
    notes = [*notes, *single]
    varied = _learnable(usable, method, sources)
    train, held, images, asked, more = divide(usable, method, settings, talk or Reporter(quiet=True))
    sources |= {each: answers_as_captions(train) for each in lent if sources[each] is lent[each]}
    if settings.ask and not lent and getattr(method.config, "questions", False):  # type: ignore[attr-defined]
        train = answers_as_captions(train)
    require_negatives(method, train)
    if _has_new_parts(method):
        method = _build(name, train, settings)  # once more, since only now it is known which words are trained on
    if scratch.options(settings.model) is not None:
        more = [*more, _introduced(method)]
    drawn = [sources[stage.data] if stage.data else train for stage in engine.stages(method)]
    group = group_size(method)
    size = _batch([train, *drawn], method, settings)
    order = SampleOrder(size, seed=settings.seed, group=group, same=same_column(method))
    stages = engine.stages(method)
    own, *plans = (
        EpochPlan(each, shards_of(data.samples)[0], world_size(), groups=groups_of(data.samples, each))
        for each, data in zip((order, *(stage_order(order, stage) for stage in stages)), (train, *drawn), strict=True)
    )
    steps = _steps(stages, plans, order.batch_size * world_size(), settings)
    remainder = own.remainder() if any(steps) else ""
    notes = [*source.notes, *notes, *varied, *more, *([remainder] if remainder else [])]
    return TrainingJob(
        name,
        method,
        usable,
        train,
        held,
        order,
        steps,
        tuple(notes),
        columns_for(method),
        sources,
        images,
        lambda: _build(name, train, settings),
        asked,
    )


def _lent(source: Source, method: AnyMethod, settings: TrainSettings) -> dict[str, Source]:
    """By name, what stages draw from that ask questions, where these are about columns of DATA."""
    return {stage.data: source for stage in engine.stages(method) if stage.data} if settings.ask else {}


def stage_order(order: SampleOrder, stage: Stage) -> SampleOrder:
    """The order of a stage's samples: the run's, with batches of its own size."""
    return dataclasses.replace(order, batch_size=stage_batch(order.batch_size, stage, order.group))


def _facts(source: Source) -> dict[str, Any]:
    """What distinguishes a collection from others."""
    words = ("\x1f".join((each.id, str(each.label), *each.captions)) for each in source.samples)
    digest = hashlib.sha256("\x1e".join(words).encode("utf-8", "surrogatepass")).hexdigest()
    return {"name": source.name, "samples": len(source.samples), "fingerprint": digest}


def _require_work(name: str, method: AnyMethod) -> None:
    """Refuses a method that works as it is."""
    if not engine.stages(method) and not state(method):
        raise DeixisError(
            f"{name} is {card_of(method).kind}, and has nothing to build: it works as it is.",
            f"`deixis show {name}` says what it does.",
        )
    encoder = encoder_of(method)
    if encoder is None or "adapters" not in card_of(method).capabilities:
        return
    if encoder.image_adapter is not None or encoder.text_adapter is not None:
        raise DeixisError(
            "The model has been adapted already, and adapters are not stacked.",
            f"Train on the model it stands on: --model {encoder.name}",
        )


def _require_sources(name: str, method: AnyMethod, sources: Mapping[str, Source]) -> None:
    """Refuses sources that are missing, and those that no stage draws from."""
    wanted = {stage.data: stage.name for stage in engine.stages(method) if stage.data}
    missing = [each for each in wanted if each not in sources]
    if missing:
        raise DeixisError(
            f"The stage {wanted[missing[0]]!r} of {name} draws from {missing[0]!r}, a source beside DATA.",
            f"Name it: --source {missing[0]}=PATH",
        )
    spare = [each for each in sources if each not in wanted]
    if spare:
        cure = f"It has: {', '.join(wanted)}." if wanted else "Leave --source out."
        raise DeixisError(f"{name} has no stage that draws from {spare[0]!r}.", cure)


def _check(settings: TrainSettings) -> None:
    for name in ("checkpoint_every", "log_every"):
        if getattr(settings, name) < 1:
            raise DeixisError(f"--{name.replace('_', '-')} is {getattr(settings, name)}.", "Give 1 or more.")
    for name in ("steps", "images", "batch_size", "chunk", "measure_every", "workers", "clip"):
        if getattr(settings, name) < 0:
            raise DeixisError(f"--{name.replace('_', '-')} is {getattr(settings, name)}.", "Give 0 or more.")
    for name in ("held_out", "max_skipped"):
        if not 0 <= getattr(settings, name) < 1:
            raise DeixisError(f"--{name.replace('_', '-')} is {getattr(settings, name)}.", "Give a fraction below 1.")
    if settings.steps and settings.images:
        raise DeixisError("Both --steps and --images are given.", "Give one of them.")


def _build(name: str, source: Source, settings: TrainSettings) -> AnyMethod:
    changed = {**_asking(name, settings), **parse_overrides(name, settings.set, settings.config)}
    parts: dict[str, Any] = {}
    if settings.model:
        towers = [part for part in read_method(name).card.parts if part.kind in ("dual_encoder", "image_tower")]
        if not towers:
            raise DeixisError(f"{name} is not built on a model.", "Leave --model out.")
        changed[towers[0].name] = settings.model
        if scratch.options(settings.model) is not None:
            _require_trainable(name, settings.model)
            changed = {**_whole(name, settings.config), **changed}
    for part in read_method(name).card.parts:
        if part.kind == "names" and (not part.optional or (part.name not in changed and _labelled(source))):
            changed[part.name] = training_classes(name, source)
    return engine.build(name, settings.config, changed, parts, settings.seed, source)


def _asking(name: str, settings: TrainSettings) -> dict[str, Any]:
    """The setting with which a method learns answers, where questions are asked of columns."""
    if not settings.ask:
        return {}
    known = all_settings(configure(name, settings.config))
    if "task" in known:
        return {"task": "answer"}
    if "questions" in known:
        return {"questions": True}
    raise DeixisError(f"{name} learns no answers.", "Leave --ask out, or take a method that offers `answer`.")


def _labelled(source: Source) -> bool:
    """Whether there are classes, two or more."""
    return len({sample.label for sample in source.samples if sample.label}) > 1


def _has_new_parts(method: AnyMethod) -> bool:
    """Whether a part is named `scratch`: it may have words from the data."""
    config = method.config if isinstance(method, HasConfig) else None
    named = [getattr(config, part.name, "") for part in card_of(method).parts]
    return any(isinstance(name, str) and name.split(":")[0] == scratch.NAME for name in named)


def _require_trainable(name: str, model: str) -> None:
    """Refuses a model of random weights for a method that leaves its model as it is."""
    if any(part.frozen and part.kind in ("dual_encoder", "image_tower") for part in read_method(name).card.parts):
        raise DeixisError(
            f"{name} does not train its model, and {model!r} has random weights.",
            "Train it first: deixis train clip --data ... --model scratch",
        )


def _whole(name: str, preset: str) -> dict[str, Any]:
    """What a new model changes in the method's settings, where the preset is made for one that was trained before."""
    config = configure(name, preset)
    tuning = getattr(config, "layers", "all") != "all"
    wanted = {**_NEW, **(_UNTRAINED if tuning else {})}
    return {setting: value for setting, value in wanted.items() if setting in all_settings(config)}


def _introduced(method: AnyMethod) -> str:
    encoder = encoder_of(method)
    count = sum(value.numel() for value in (method if encoder is None else encoder).parameters()) / 1e6
    said = f"A new model of {count:.2g} million random weights is trained completely"
    words = "" if encoder is None else f"; it knows {encoder.tokenizer.vocabulary - len(scratch.MARKS)} words"
    return f"{said}{words}."


def _vocabulary(method: AnyMethod) -> dict[str, str]:
    """A fingerprint of the words of a model that has them from captions."""
    encoder = encoder_of(method)
    if encoder is None or not scratch.is_new(encoder):
        return {}
    rules = json.dumps(encoder.tokenizer.to_dict(), sort_keys=True)
    return {"words": hashlib.sha256(rules.encode()).hexdigest()}


def _worded(source: Source, method: AnyMethod) -> tuple[Source, list[str]]:
    """The samples with words, where the method reads any; captions that are blank are taken away."""
    if not _WORDS & read_for([spec for stage in engine.stages(method) for spec in needs_of(method, stage)]):
        return source, []
    spoken = [_spoken(sample) for sample in source.samples]
    retained = tuple(sample for sample in spoken if sample.captions or sample.label)
    missing = len(spoken) - len(retained)
    note = [f"{missing} of {len(spoken)} samples have no words, and are left out."] if missing and retained else []
    return dataclasses.replace(source, samples=retained or tuple(spoken)), note


def _spoken(sample: Sample) -> Sample:
    captions = tuple(caption for caption in sample.captions if caption.strip())
    label = sample.label if sample.label and sample.label.strip() else None
    if captions == sample.captions and label == sample.label:
        return sample
    return dataclasses.replace(sample, captions=captions, label=label)


def _learnable(source: Source, method: AnyMethod, sources: Mapping[str, Source]) -> list[str]:
    """Refuses data that lacks a field, and pairs none of which can be distinguished from another; returns notes on
    how images are varied."""
    drawn = [(stage, sources[stage.data] if stage.data else source) for stage in engine.stages(method)]
    collates = [collate_for(method, each, stage) for stage, each in drawn]
    notes = [note for collate in collates for note in getattr(collate, "notes", ())]
    said = {sample.captions or (sample.label,) for sample in source.samples}
    if card_of(method).min_batch > 1 and len(said) == 1 and said != {(None,)}:
        raise DeixisError(
            f"All {len(source.samples)} samples say {next(iter(said))[0]!r}: there is nothing to distinguish.",
            "Give captions that describe each picture.",
        )
    return list(dict.fromkeys(notes))


def _batch(drawn: Sequence[Source], method: AnyMethod, settings: TrainSettings) -> int:
    """Samples a step on each rank, no more than the smallest source has."""
    world, least, most = world_size(), card_of(method).min_batch, min(len(source.samples) for source in drawn)
    group = group_size(method)
    whole, things = world * group, len(set(groups_of(drawn[0].samples)))
    fitting = min(_BATCH, most, things * group) if group > 1 else min(_BATCH, most)
    size = settings.batch_size or max(whole, fitting // whole * whole)
    if size % world:
        raise DeixisError(f"A batch of {size} can't be divided among {world} ranks.", f"Give a multiple of {world}.")
    if size < least:
        raise DeixisError(
            f"A batch of {size} is too small: the method compares samples with one another and needs {least} or more.",
            "Give a larger --batch-size.",
        )
    require_things(size, group, things)
    if size > most:
        raise DeixisError(
            f"A batch of {size} is more than the {most} samples to train on.",
            "Give a smaller --batch-size, or more data.",
        )
    return size // world


def _steps(stages: Sequence[Stage], plans: Sequence[EpochPlan], size: int, settings: TrainSettings) -> tuple[int, ...]:
    """Of each stage; a stage that fits takes none. Where no number is given, a stage passes over its own source; shares
    that sum to less than 1 leave out the rest."""
    shares = [stage.steps if stage.kind == "train" else 0.0 for stage in stages]
    steps = []
    for share, plan in zip(shares, plans, strict=True):
        whole = settings.steps or math.ceil(settings.images / size) or _PASSES * plan.length(0)
        steps.append(max(1, round(whole * share / max(1.0, sum(shares)))) if share else 0)
    return tuple(steps)
