"""What is trained on what: a method built, data sorted into what it learns from and what is held out, steps counted."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from deixis import engine
from deixis.apps.common.overrides import parse_overrides
from deixis.apps.train.settings import TrainSettings
from deixis.data.loading.sampler import EpochPlan, SampleOrder, groups_of, shards_of
from deixis.data.splits import MIN_GROUPS, concept_groups, split
from deixis.engine.evaluation.retrieval_eval import can_retrieve
from deixis.engine.features.columns import PartColumns, read_for
from deixis.engine.training.batching import collate_for, columns_for, encoder_of, needs_of
from deixis.engine.training.build import configure
from deixis.engine.training.stages import card_of, group_size
from deixis.errors import DeixisError
from deixis.methods import all_settings
from deixis.methods import read as read_method
from deixis.ops.collective import world_size
from deixis.types import Sample, Source, Stage
from deixis.types.protocols import AnyMethod, HasConfig, TrainedMethod
from deixis.zoo import scratch

__all__ = ["TrainingJob", "prepare"]

_PASSES, _BATCH, _HELD = 10, 32, 1000
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
        notes: what a person should be told.
        columns: the fields that frozen parts make.
    """

    name: str
    method: TrainedMethod
    source: Source
    train: Source
    held: Source | None
    order: SampleOrder
    steps: tuple[int, ...]
    notes: tuple[str, ...]
    columns: PartColumns

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Of the method."""
        return engine.stages(self.method)

    @property
    def batch_size(self) -> int:
        """Samples a step, over all ranks."""
        return self.order.batch_size * world_size()

    def to_dict(self) -> dict[str, Any]:
        """All that decides what is trained on what, as plain values."""
        held = 0 if self.held is None else len(self.held.samples)
        words = ("\x1f".join((each.id, str(each.label), *each.captions)) for each in self.source.samples)
        digest = hashlib.sha256("\x1e".join(words).encode("utf-8", "surrogatepass")).hexdigest()
        config = self.method.config if isinstance(self.method, HasConfig) else None
        return {
            "method": self.name,
            "config": {} if config is None else dataclasses.asdict(config),
            "data": {"name": self.source.name, "samples": len(self.source.samples), "fingerprint": digest},
            **_vocabulary(self.method),
            "held_out": held,
            "batch_size": self.batch_size,
            "steps": list(self.steps),
        }


def prepare(name: str, source: Source, settings: TrainSettings) -> TrainingJob:
    """Builds the method and sorts the data.

    Args:
        name: of the method.
        source: as it was read.
        settings: what the user wishes.

    Raises:
        DeixisError: the method is not trained, a setting is none, or the data lacks what the method needs: all before
            any work is done.
    """
    _check(settings)
    card = read_method(name).card
    if card.kind != "trained":
        raise DeixisError(f"{name} is {card.kind}: no step of it is a gradient's.", "`deixis list` shows what trains.")
    method = _build(name, source, settings)
    usable, notes = _worded(source, method)
    varied = _learnable(usable, method)
    train, held, more = _held_out(usable, method, settings)
    if _has_new_parts(method):
        method = _build(name, train, settings)  # once more, since only now it is known which words are trained on
    if scratch.options(settings.model) is not None:
        more = [*more, _introduced(method)]
    group = group_size(method)
    order = SampleOrder(_batch(train, method, settings), seed=settings.seed, group=group)
    groups = groups_of(train.samples) if group > 1 else ()
    plan = EpochPlan(order, shards_of(train.samples)[0], world_size(), groups=groups)
    steps = _steps(engine.stages(method), plan, settings)
    remainder = plan.remainder()
    notes = [*source.notes, *notes, *varied, *more, *([remainder] if remainder else [])]
    return TrainingJob(name, method, usable, train, held, order, steps, tuple(notes), columns_for(method))


def _check(settings: TrainSettings) -> None:
    for name in ("checkpoint_every", "log_every"):
        if getattr(settings, name) < 1:
            raise DeixisError(f"--{name.replace('_', '-')} is {getattr(settings, name)}.", "Give 1 or more.")
    for name in ("steps", "images", "batch_size", "chunk", "measure_every", "workers", "clip"):
        if getattr(settings, name) < 0:
            raise DeixisError(f"--{name.replace('_', '-')} is {getattr(settings, name)}.", "Give 0 or more.")
    for name in ("held_out", "max_skipped"):
        if not 0 <= getattr(settings, name) < 1:
            raise DeixisError(f"--{name.replace('_', '-')} is {getattr(settings, name)}.", "Give a share below 1.")
    if settings.steps and settings.images:
        raise DeixisError("Both --steps and --images are given.", "Give one of them.")


def _build(name: str, source: Source, settings: TrainSettings) -> TrainedMethod:
    changed = parse_overrides(name, settings.set, settings.config)
    parts: dict[str, Any] = {}
    for part in read_method(name).card.parts:
        if part.kind == "names":
            parts[part.name] = tuple(sorted({sample.label for sample in source.samples if sample.label is not None}))
    if settings.model:
        towers = [part for part in read_method(name).card.parts if part.kind in ("dual_encoder", "image_tower")]
        if not towers:
            raise DeixisError(f"{name} is not built on a model.", "Leave --model out.")
        changed[towers[0].name] = settings.model
        if scratch.options(settings.model) is not None:
            _require_trainable(name, settings.model)
            changed = {**_whole(name, settings.config), **changed}
    return engine.trained(engine.build(name, settings.config, changed, parts, settings.seed, source))


def _has_new_parts(method: AnyMethod) -> bool:
    """Whether a part is named `scratch`: it may have words from the data."""
    config = method.config if isinstance(method, HasConfig) else None
    named = [getattr(config, part.name, "") for part in card_of(method).parts]
    return any(isinstance(name, str) and name.split(":")[0] == scratch.NAME for name in named)


def _require_trainable(name: str, model: str) -> None:
    """Refuses a model of random weights for a method that leaves its model as it is."""
    if any(part.frozen and part.kind in ("dual_encoder", "image_tower") for part in read_method(name).card.parts):
        raise DeixisError(
            f"{name} leaves its model as it is, and {model!r} is random numbers.",
            "Train it first: deixis train clip --data ... --model scratch",
        )


def _whole(name: str, preset: str) -> dict[str, Any]:
    """What a new model asks of the method's settings, where the preset is made for one that was trained before."""
    config = configure(name, preset)
    tuning = getattr(config, "layers", "all") != "all"
    wanted = {**_NEW, **(_UNTRAINED if tuning else {})}
    return {setting: value for setting, value in wanted.items() if setting in all_settings(config)}


def _introduced(method: AnyMethod) -> str:
    encoder = encoder_of(method)
    count = sum(value.numel() for value in (method if encoder is None else encoder).parameters()) / 1e6
    said = f"A new model of {count:.2g} million random weights is trained whole"
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
    kept = tuple(sample for sample in spoken if sample.captions or sample.label)
    missing = len(spoken) - len(kept)
    note = [f"{missing} of {len(spoken)} samples have no words, and are left out."] if missing and kept else []
    return dataclasses.replace(source, samples=kept or tuple(spoken)), note


def _spoken(sample: Sample) -> Sample:
    captions = tuple(caption for caption in sample.captions if caption.strip())
    label = sample.label if sample.label and sample.label.strip() else None
    if captions == sample.captions and label == sample.label:
        return sample
    return dataclasses.replace(sample, captions=captions, label=label)


def _learnable(source: Source, method: AnyMethod) -> list[str]:
    """Refuses data that lacks a field, and pairs none of which can be told from another; gives what is to be known of
    how images are varied."""
    collates = [collate_for(method, source, stage) for stage in engine.stages(method)]
    notes = [note for collate in collates for note in getattr(collate, "notes", ())]
    said = {sample.captions or (sample.label,) for sample in source.samples}
    if card_of(method).min_batch > 1 and len(said) == 1 and said != {(None,)}:
        raise DeixisError(
            f"All {len(source.samples)} samples say {next(iter(said))[0]!r}: there is nothing to tell apart.",
            "Give captions that tell what each picture shows.",
        )
    return list(dict.fromkeys(notes))


def _held_out(source: Source, method: AnyMethod, settings: TrainSettings) -> tuple[Source, Source | None, list[str]]:
    """What is learned from, what is measured on, and why nothing is where nothing is."""
    if not settings.held_out:
        return source, None, []
    if not can_retrieve(method) or not all(sample.captions or sample.label for sample in source.samples):
        return source, None, ["Nothing is held out: the method does not compare pictures with words."]
    groups = concept_groups(source.samples)
    if len(set(groups)) < MIN_GROUPS:
        return (
            source,
            None,
            [f"Nothing is held out: there are {len(set(groups))} concepts, and {MIN_GROUPS} are needed."],
        )
    share = 1 - min(settings.held_out, _HELD / len(source.samples))
    parts = split(groups, settings.seed, share)
    train, held = (
        dataclasses.replace(source, samples=tuple(source.samples[i] for i in part))
        for part in (parts.train, parts.test)
    )
    return train, held, []


def _batch(train: Source, method: AnyMethod, settings: TrainSettings) -> int:
    """Samples a step on each rank."""
    world, least = world_size(), card_of(method).min_batch
    whole = world * group_size(method)
    size = settings.batch_size or max(whole, min(_BATCH, len(train.samples)) // whole * whole)
    if size % world:
        raise DeixisError(f"A batch of {size} can't be dealt out to {world} ranks.", f"Give a multiple of {world}.")
    if size < least:
        raise DeixisError(
            f"A batch of {size} is too small: the method compares samples with one another and needs {least} or more.",
            "Give a larger --batch-size.",
        )
    if size > len(train.samples):
        raise DeixisError(
            f"A batch of {size} is more than the {len(train.samples)} samples to train on.",
            "Give a smaller --batch-size, or more data.",
        )
    return size // world


def _steps(stages: Sequence[Stage], plan: EpochPlan, settings: TrainSettings) -> tuple[int, ...]:
    """Of each stage; a stage that fits takes none."""
    size = plan.order.batch_size * plan.world
    whole = settings.steps or math.ceil(settings.images / size) or _PASSES * plan.length(0)
    shares = [stage.steps if stage.kind == "train" else 0.0 for stage in stages]
    return tuple(max(1, round(whole * share / sum(shares))) if share else 0 for share in shares)
