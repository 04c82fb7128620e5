"""Chooses how long an adapter trains and how strongly it is applied, on concepts it was not trained on.

For each setting of steps and strength the primary metric is measured on held-out concepts, fold by fold. The best
setting is taken only if it beats the original there beyond chance (the paired interval over concepts excludes 0);
otherwise the strength is 0 and the original model stays.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from deixis import engine
from deixis.data.split import Split, folds
from deixis.engine.evaluate import Adapters, Measure, strengthen
from deixis.engine.features import Table
from deixis.engine.stages import card_of
from deixis.engine.train import batches, train
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import Progress

__all__ = ["Choice", "Experiment", "Grid", "Recipe", "choose", "fit"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What is fitted.

    Attributes:
        method: name of a method that offers adapters.
        overrides: settings that differ from its `desk` preset.
        batch_size: samples per step, views counted.
    """

    method: str = "residual"
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    batch_size: int = 256


@dataclasses.dataclass(frozen=True)
class Grid:
    """What is chosen from.

    Attributes:
        steps: numbers of optimiser steps; fitted methods have none and ignore them.
        strengths: factors on the correction; the original (0) is always among the choices.
        folds: parts of the training concepts, each held out once.
        repeats: how often the folds are drawn anew.
        level: of the interval that must exclude 0 for the original to be left.
    """

    steps: tuple[int, ...] = (20, 40, 60)
    strengths: tuple[float, ...] = (0.25, 0.5, 0.75)
    folds: int = 2
    repeats: int = 1
    level: float = 0.95


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What stays the same over splits and arms.

    Attributes:
        encoder: the original model.
        table: all samples.
        groups: the concept of each sample.
        splits: which samples train and which report.
        measure: gives the per-query values of adapters.
        metric: the primary one.
        seed: of folds and training.
    """

    encoder: DualEncoder
    table: Table
    groups: Sequence[int]
    splits: Sequence[Split]
    measure: Measure
    metric: str
    seed: int = 0


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and what it rests on.

    Attributes:
        steps: optimiser steps.
        strength: factor on the correction; 0 keeps the original.
        before: the metric of the original on the held-out concepts.
        after: of the best setting, whether or not it was taken.
        gain: the paired difference of the two, with its interval over concepts.
        curve: [steps, strengths], the metric of every setting.
        grid: the settings.
    """

    steps: int
    strength: float
    before: float
    after: float
    gain: Interval
    curve: tuple[tuple[float, ...], ...]
    grid: Grid


def fit(recipe: Recipe, encoder: DualEncoder, table: Table, steps: Sequence[int], seed: int) -> dict[int, Adapters]:
    """Fits the recipe on all rows of `table`; steps -> the adapters as they were then.

    A trained method is trained once, for the largest of `steps`; a fitted one gives the same adapters for all.
    """
    method = engine.build(recipe.method, "desk", recipe.overrides, {"encoder": encoder}, seed)
    taken: dict[int, Adapters] = {}
    if card_of(method).kind == "fitted":
        with torch.no_grad():
            method.observe(table.batch(), Progress(seed=seed))
            method.finish(Progress(seed=seed))
        return {step: method.adapters() for step in steps}

    def keep(progress: Any, losses: Any) -> None:
        if progress.step in steps:
            taken[progress.step] = copy.deepcopy(method.adapters())

    train(method, batches(table.batch(), recipe.batch_size, seed), max(steps), seed=seed, on_step=keep)
    for pair in taken.values():
        for adapter in pair:
            if adapter is not None:
                adapter.eval().requires_grad_(False)
    return taken


def choose(
    recipe: Recipe, grid: Grid, experiment: Experiment, table: Table, groups: Sequence[int], seed: int
) -> Choice:
    """Chooses steps and strength by cross-validation over concepts.

    Args:
        recipe: what is fitted.
        grid: what is chosen from.
        experiment: the frozen model, the measure and the metric that decides.
        table: the training samples.
        groups: the concept of each.
        seed: of the folds and the training.
    """
    measure, metric = experiment.measure, experiment.metric
    original: list[np.ndarray] = []
    settings: list[np.ndarray] = []
    concepts: list[np.ndarray] = []
    for repeat in range(grid.repeats):
        for part in folds(groups, grid.folds, seed + 1000 * repeat):
            held = table.take(part.test)
            taken = fit(recipe, experiment.encoder, table.take(part.train), grid.steps, seed)
            original.append(measure(held, (None, None))[metric])
            rows = [
                [measure(held, strengthen(taken[step], strength))[metric] for strength in grid.strengths]
                for step in grid.steps
            ]
            settings.append(np.array(rows))
            concepts.append(np.asarray([groups[i] for i in part.test]))
    before, after, clusters = np.concatenate(original), np.concatenate(settings, axis=-1), np.concatenate(concepts)
    curve = after.mean(axis=-1)
    step, strength = (int(i) for i in np.unravel_index(int(curve.argmax()), curve.shape))
    gain = cluster_bootstrap(after[step, strength] - before, clusters, level=grid.level)
    taken_strength = grid.strengths[strength] if gain.low > 0 else 0.0
    return Choice(
        steps=grid.steps[step],
        strength=taken_strength,
        before=float(before.mean()),
        after=float(curve[step, strength]),
        gain=gain,
        curve=tuple(tuple(float(value) for value in row) for row in curve),
        grid=grid,
    )
