"""What a user can set: dataclasses whose fields are the flags. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["ClaimSettings", "Reading", "Settings", "TrainSettings", "overrides"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """How DATA is read.

    Attributes:
        path_column: the column of a table that holds the image paths; found by its name where not told.
        caption_column: the column that holds the captions.
        label_column: the column that holds the classes.
        group: the column that tells which images show one thing.
        names_as_captions: take file names as captions.
    """

    path_column: str | None = None
    caption_column: str | None = None
    label_column: str | None = None
    group: str | None = None
    names_as_captions: bool = False


@dataclasses.dataclass(frozen=True)
class Settings:
    """How the main job runs.

    Attributes:
        model: what is adapted: a name (`starter`) or a model folder.
        method: how; `deixis list` shows the methods that offer adapters.
        splits: how many concept-disjoint splits report.
        train: share of the samples that train in each.
        seed: of splits, folds and training.
        controls: also run the controls, which must learn nothing.
        layers: for methods that train the towers, which weights: `last` (the last blocks), `all` or `lora`; empty
            takes the method's own choice.
    """

    model: str = "starter"
    method: str = "residual"
    splits: int = 5
    train: float = 0.6
    seed: int = 0
    controls: bool = True
    layers: str = ""


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a method is trained.

    Attributes:
        config: the preset of the method's settings: `tiny`, `desk` or `paper`.
        set: settings that are changed, as name=value; `deixis show NAME` lists them.
        model: the part that is trained: a name (`starter`) or a model folder; empty takes the preset's.
        steps: optimiser steps of all stages; 0: ten passes over the data.
        images: samples seen, in place of steps.
        batch_size: samples a step, over all ranks; 0: 32, or all where there are fewer.
        chunk: samples that are in the towers at a time, the gradient being that of the whole batch; 0: all.
        clip: what the norm of the gradient is held to; 0: it is left as it is.
        precision: of products: `float32`, `bf16`, or `auto`: bf16 where the GPU or the processor multiplies it.
        held_out: share of the data that is not trained on and measures retrieval, split by concept.
        measure_every: steps from one such measurement to the next; 0: at the start and at the end.
        checkpoint_every: steps from one checkpoint to the next.
        log_every: steps from one line of metrics.jsonl to the next.
        max_skipped: share of the samples that may turn out unreadable; they are left out.
        workers: threads that read ahead.
        seed: of the split, the order, the weights that are new, and dropout.
        tensorboard: write for TensorBoard, too: `auto` where it is installed, `yes` or `no`.
        timeout: seconds after which a rank that does not answer is given up, under torchrun.
    """

    config: str = "desk"
    set: tuple[str, ...] = ()
    model: str = ""
    steps: int = 0
    images: int = 0
    batch_size: int = 0
    chunk: int = 0
    clip: float = 0.0
    precision: Literal["auto", "float32", "bf16"] = "auto"
    held_out: float = 0.1
    measure_every: int = 0
    checkpoint_every: int = 100
    log_every: int = 10
    max_skipped: float = 0.05
    workers: int = 2
    seed: int = 0
    tensorboard: Literal["auto", "yes", "no"] = "auto"
    timeout: float = 600.0


@dataclasses.dataclass(frozen=True)
class ClaimSettings:
    """How claims are tried.

    Attributes:
        seeds: reported runs of each arm; fewer than 5 give no verdict that is kept.
        arm: only these arms, for a look; nothing is kept.
        folder: where finished units, checkpoints and rows lie.
        small: a twentieth of the images, two seeds, no tuning: whether all works. Nothing is kept.
        record: add the rows to results/ of the repository, for which the code must be committed.
        jobs: runs at a time, each in a process of its own with its share of the cores; 0: one a core.
    """

    seeds: int = 5
    arm: tuple[str, ...] = ()
    folder: str = "runs/claims"
    small: bool = False
    record: bool = True
    jobs: int = 0


def overrides(settings: Settings) -> dict[str, str]:
    """The settings of the method that a user has changed."""
    return {"layers": settings.layers} if settings.layers else {}
