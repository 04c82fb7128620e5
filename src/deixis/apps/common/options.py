"""What a user can set: dataclasses whose fields are the flags. No torch here."""

from __future__ import annotations

import dataclasses
from typing import Literal

__all__ = [
    "AdaptSettings",
    "ClaimSettings",
    "EvalSettings",
    "ExplainSettings",
    "ExportSettings",
    "IndexSettings",
    "Reading",
    "SearchSettings",
    "ServeSettings",
    "TrainSettings",
    "overrides",
]


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
class AdaptSettings:
    """How the main job runs.

    Attributes:
        model: what is adapted: a name (`starter`) or a model folder.
        method: how: one that adapts the model (`residual`; `deixis list` shows them), or one that learns the classes
            of labelled images: zero_shot, linear, tip, delta, coop, cocoop, pre, or auto, which chooses.
        shots: images a class that are learned from, by methods that learn classes.
        templates: sentences around a class name, {} where it goes, for those that read them.
        splits: how many concept-disjoint splits report.
        train: share of the samples that train in each.
        seed: of splits, folds and training.
        controls: also run the controls, which must learn nothing.
        layers: for methods that train the towers, which weights: `last` (the last blocks), `all` or `lora`; empty
            takes the method's own choice.
    """

    model: str = "starter"
    method: str = "residual"
    shots: int = 16
    templates: tuple[str, ...] = ()
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
        model: the part that is trained: a name (`starter`), a model folder, or `scratch`: a new one, whose words are
            those of the captions (`scratch:vit`, `scratch:resnet:base:96`); empty takes the preset's.
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


@dataclasses.dataclass(frozen=True)
class EvalSettings:
    """What is measured, of which model.

    Attributes:
        protocol: few-shot, base-to-new, cross-style or saliency.
        model: what is measured: a name (`starter`) or the model folder of a run.
        methods: which are compared; empty takes the protocol's own choice.
        shots: labelled images a class, for the few-shot protocols; base-to-new and cross-style take the largest.
        seeds: draws of images that are repeated.
        limit: the most images that are read; 0: all, or as many as the protocol takes by itself.
        style: for cross-style, the one that is learned; empty: the one with the most images.
    """

    protocol: str = "few-shot"
    model: str = "starter"
    methods: tuple[str, ...] = ()
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    seeds: int = 3
    limit: int = 0
    style: str = ""


@dataclasses.dataclass(frozen=True)
class ExplainSettings:
    """How a score is explained.

    Attributes:
        method: `normgrad` (the selective map), `srmap`, `relevance`, or a map of normgrad's table: `grad_cam`,
            `gradient`, `norm_grad`, `conv3x3+norm`...
        layers: names of the image tower's layers; empty takes the method's own choice: of normgrad and a convolutional
            network the blocks at a quarter and three fifths of its depth, else the last.
        combine: how normgrad's maps of several layers become one: `sum`, `product` (geometric mean) or `plain_product`.
        others: texts that the text is held against: the mean of their similarities is taken off.
        tower: `image` for maps alone, `text` for the words' shares alone, or `both`.
        rules: of relevance, by name; empty takes `epsilon_plus`, for transformers `attention`, for srmap the paper's.
        rate: of normgrad's meta step, one step of gradient descent on the image itself; 0: none.
    """

    method: str = "normgrad"
    layers: tuple[str, ...] = ()
    combine: Literal["sum", "product", "plain_product"] = "product"
    others: tuple[str, ...] = ()
    tower: Literal["both", "image", "text"] = "both"
    rules: str = ""
    rate: float = 0.0


@dataclasses.dataclass(frozen=True)
class IndexSettings:
    """What is done with an index.

    Attributes:
        model: a name, or the model folder of a run; `starter` for a new index, and for one that is there its own.
        dtype: of the vectors of a new index; float16 takes half the room.
        add: take in what is new in DATA or has changed, into the index that is there.
        update: the same, and remove what is gone from DATA; what was moved keeps its vector.
        remove: DATA are ids or paths in the index that is there: take them out of it.
        approximate: then also build a graph, for quicker searches of a million pictures and more, which may miss some;
            how many is measured and told.
    """

    model: str = ""
    dtype: Literal["float32", "float16"] = "float32"
    add: bool = False
    update: bool = False
    remove: bool = False
    approximate: bool = False


@dataclasses.dataclass(frozen=True)
class SearchSettings:
    """What is asked for besides words, and how.

    Attributes:
        k: how many answers.
        image: pictures that are asked for together with the words.
        minus: words or pictures to be left out.
        mix: of words and pictures: 0 asks by the words alone, 1 by the pictures alone.
        how: of mixing: along the sphere of directions, or by the sum.
        minus_weight: how much weighs what is left out, all that is asked for weighing 1.
        weights: of each of several texts, then of each picture; equal where none are given.
        where: conditions on columns, such as label=bird or year>=2020; all must hold.
        min_relevance: leave out answers less likely to be right than this, from 0 to 1.
        near: list pairs of pictures at least this alike in place of searching.
        json: print one JSON object.
    """

    k: int = 10
    image: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    mix: float = 0.5
    how: Literal["sphere", "sum"] = "sphere"
    minus_weight: float = 0.5
    weights: tuple[float, ...] = ()
    where: tuple[str, ...] = ()
    min_relevance: float = 0.0
    near: float | None = None
    json: bool = False


@dataclasses.dataclass(frozen=True)
class ServeSettings:
    """Where a run is served, to whom, and how much is taken from a client.

    Attributes:
        host: the address that is listened on. By any but this machine's own, other machines are let in, and --token is
            needed.
        port: the port; 0 takes a free one and prints it.
        token: what clients must show; `auto` makes one up and prints it. Others can read what stands on a command line.
        folder: folders that clients may have looked through for new pictures; no other is ever read.
        body_mb: the most megabytes in one request.
        megapixels: the most in one picture that is sent.
        letters: the most in one text.
        queue: requests that may wait for the model; others are told to come again.
        seconds: that a request may take to be sent, and to be answered.
    """

    host: str = "127.0.0.1"
    port: int = 7878
    token: str = ""
    folder: tuple[str, ...] = ()
    body_mb: float = 32.0
    megapixels: float = 50.0
    letters: int = 2000
    queue: int = 256
    seconds: float = 30.0


@dataclasses.dataclass(frozen=True)
class ExportSettings:
    """What a model is written as.

    Attributes:
        onnx: two ONNX graphs, which onnxruntime runs without torch; adapters are part of them.
        int8: graphs in 8 bits, too, with what they cost in retrieval.
        to: a folder of another program, `openclip` or `huggingface`, for models without adapters; or `npy`, `faiss` or
            `postgres`, which take the index.
        data: pictures with captions to check and measure on; empty takes those of the run.
    """

    onnx: bool = False
    int8: bool = False
    to: str = ""
    data: str = ""


@dataclasses.dataclass(frozen=True)
class Database:
    """Where an index goes with --to postgres.

    Attributes:
        dsn: how the server is reached, such as postgresql://user@host/database; what is left out is taken from PGHOST,
            PGUSER, PGPASSWORD and the like.
        table: name of the table.
        graph: also build a graph (HNSW) there, for approximate searches of millions.
    """

    dsn: str = ""
    table: str = "deixis"
    graph: bool = False


def overrides(settings: AdaptSettings) -> dict[str, str]:
    """The settings of the method that a user has changed."""
    return {"layers": settings.layers} if settings.layers else {}
