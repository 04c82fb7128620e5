"""Settings of `deixis train`: each field is a flag. Does not import torch."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = ["TrainSettings"]


@dataclasses.dataclass(frozen=True)
class TrainSettings:
    """How a method is trained.

    Attributes:
        config: preset of the method's settings: `tiny`, `desk` (small) or `paper` (as published).
        set: settings to override, as name=value; `deixis show NAME` lists them.
        sentences: csv of sentences for the pictures, as `deixis caption --sentences` writes: further captions of each.
        texts: csv with rows `path,caption`, such as `deixis caption --model` writes: captions in place of those of the
            data, for the pictures that it names.
        ask: questions about columns of the data, as COLUMN=QUESTION, for methods that learn answers.
        source: further data, as NAME=PATH, for methods with stages that draw from it by that name; a .txt holds texts
            without images, one a line.
        model: the model to train: a name (`starter`), a model or run folder, or a new one with a vocabulary from the
            captions (`scratch`, `scratch:vit`, `scratch:resnet:base:96`); by default the preset's.
        steps: number of optimiser steps, over all stages; 0: ten epochs.
        images: number of samples to train on, instead of --steps.
        batch_size: samples per step over all ranks; 0: 32, or all if there are fewer.
        chunk: gradient caching: samples per pass through the towers, with the gradient of the whole batch; 0: off.
        clip: maximum norm of the gradient; 0: as the method's settings say.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `mps`; under torchrun each rank takes its own.
        precision: `fp32` (also `float32`), `bf16` (mixed precision) or `auto`: bf16 if the GPU or CPU supports it in
            hardware.
        held_out: fraction of the data held out to measure retrieval, the accuracy of methods that classify, or the
            answers to `--ask`, split by concept; of methods that learn from images alone, to compare encoders, and as
            much again to choose one by.
        measure_every: steps between two such measurements; 0: only at the start and at the end.
        checkpoint_every: steps between two checkpoints.
        log_every: steps between two lines of metrics.jsonl.
        max_skipped: maximum fraction of unreadable samples, which are skipped; with more the run stops.
        workers: number of threads that load data.
        seed: random seed of the split, the order of samples, new weights and dropout.
        tensorboard: also write TensorBoard files: `yes`, `no`, or `auto`: if it is installed.
        timeout: under torchrun, seconds to wait for a rank that does not respond.
        shard: under torchrun, shard the towers' weights, gradients and optimiser state over the ranks (FSDP).
    """

    config: str = "desk"
    set: tuple[str, ...] = ()
    sentences: str = ""
    texts: str = ""
    ask: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    model: str = ""
    steps: int = 0
    images: int = 0
    batch_size: int = 0
    chunk: int = 0
    clip: float = 0.0
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "fp32", "float32", "bf16"] = "auto"
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
