"""What can be set of `deixis train`: the fields are its flags. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["TrainSettings"]


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a method is trained.

    Attributes:
        config: the preset of the method's settings: `tiny`, `desk` or `paper`.
        set: settings that are changed, as name=value; `deixis show NAME` lists them.
        model: the part that is trained: a name (`starter`), a model folder, or `scratch`: a new one, whose words are
            those of the captions (`scratch:vit`, `scratch:resnet:base:96`); empty takes the preset's.
        steps: optimiser steps of all stages; 0: ten passes over the data.
        images: samples seen, in place of steps.
        batch_size: samples a step, over all ranks; 0: 32, or all where there are fewer.
        chunk: samples that are in the towers at a time, the gradient being that of the whole batch; 0: all.
        clip: what the norm of the gradient is held to; 0: as the method's settings say.
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
        shard: under torchrun, each rank holds its share of the towers' weights, gradients and moments, and no more.
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
    shard: bool = False
