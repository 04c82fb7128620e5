"""Chooses how long an adapter trains and how strongly it is applied, on concepts it was not trained on.

For each setting of steps and strength the primary metric is measured on held-out concepts, fold by fold. The best
setting is taken only if it beats the original there beyond chance: the paired interval over concepts of the log rank
excludes 0. Of settings that are equally good as far as can be seen, the one nearest to the original is the best.
The interval is wider than the usual 95 %, since the best of a dozen settings is looked at; otherwise the
strength is 0 and the original model stays.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from deixis import engine
from deixis.data.splits import Split, folds, split
from deixis.engine.adaptation.evaluate import TEST_STATISTIC, Adapters, Measure, set_strength
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid, trains_towers
from deixis.engine.adaptation.towers import ImageTextCache, tune
from deixis.engine.features.store import FeatureTable
from deixis.engine.training import train as training
from deixis.engine.training.stages import card_of, offers, trained
from deixis.errors import DeixisError
from deixis.nn.dual import DualEncoder
from deixis.ops.stats import Interval, cluster_bootstrap
from deixis.types import Losses, Progress
from deixis.types.protocols import OffersAdapters

__all__ = ["Choice", "Experiment", "choose", "fit"]


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
        library: pictures and texts, for methods that train towers.
    """

    encoder: DualEncoder
    table: FeatureTable
    groups: Sequence[int]
    splits: Sequence[Split]
    measure: Measure
    metric: str
    seed: int = 0
    library: ImageTextCache | None = None


@dataclasses.dataclass(frozen=True)
class Choice:
    """What was chosen, and what it rests on.

    Attributes:
        steps: optimiser steps.
        strength: factor on the correction; 0 keeps the original.
        before: the metric of the original on the held-out concepts.
        after: of the best setting, whether or not it was taken.
        gain: by how much the log rank got better, with its interval over concepts at the grid's level.
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


def fit(
    recipe: AdaptationRecipe,
    encoder: DualEncoder,
    table: FeatureTable,
    steps: Sequence[int],
    seed: int,
    library: ImageTextCache | None = None,
) -> Mapping[int, Adapters]:
    """Fits the recipe on all rows of `table`; steps -> the adapters, or tuned towers, as they were then.

    A trained method is trained once, for the largest of `steps`; a fitted one gives the same adapters for all.

    Args:
        recipe: what is fitted.
        encoder: the frozen model.
        table: the samples to fit on.
        steps: when to look.
        seed: of initial weights, order and dropout.
        library: pictures and texts, where the method trains towers.
    """
    if trains_towers(recipe.method):
        assert library is not None
        return tune(recipe, encoder, table, steps, seed, library)
    with _one_thread():
        return _fit(recipe, encoder, table, steps, seed)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """For products as small as an adapter's, more threads win little, and on a busy machine lose a great deal."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fit(
    recipe: AdaptationRecipe, encoder: DualEncoder, table: FeatureTable, steps: Sequence[int], seed: int
) -> dict[int, Adapters]:
    method = built = engine.build(recipe.method, "desk", recipe.overrides, {"encoder": encoder}, seed)
    if not offers(method, OffersAdapters):
        raise DeixisError(f"{recipe.method} gives no adapters.", "`deixis list` shows which methods do.")
    taken: dict[int, Adapters] = {}
    if card_of(built).kind == "fitted":
        training.fit(built, [table.batch()], seed=seed)
        return {step: method.adapters() for step in steps}

    def keep(progress: Progress, losses: Losses) -> None:
        if progress.step in steps:
            image, text = (each and each.eval().requires_grad_(False) for each in copy.deepcopy(method.adapters()))
            taken[progress.step] = (image, text)

    batches = training.batches(table.batch(), recipe.batch_size, seed)
    training.train(trained(built), batches, max(steps), seed=seed, on_step=keep)
    return taken


def choose(
    recipe: AdaptationRecipe, grid: Grid, experiment: Experiment, table: FeatureTable, groups: Sequence[int], seed: int
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
    original: list[np.ndarray] = []
    settings: list[np.ndarray] = []
    concepts: list[np.ndarray] = []
    for repeat in range(1 if grid.holdout else grid.repeats):
        for part in _parts(grid, groups, seed + 1000 * repeat):
            held = table.take(part.test)
            taken = fit(recipe, experiment.encoder, table.take(part.train), grid.steps, seed, experiment.library)
            original.append(_values(experiment, held, (None, None)))
            rows = [
                [_values(experiment, held, set_strength(taken[step], strength)) for strength in grid.strengths]
                for step in grid.steps
            ]
            settings.append(np.array(rows))
            concepts.append(np.asarray([groups[i] for i in part.test]))
    (before, ground), clusters = np.concatenate(original, axis=-1), np.concatenate(concepts)
    after, evidence = np.moveaxis(np.concatenate(settings, axis=-1), 2, 0)
    curve = after.mean(axis=-1)
    step, strength = _cautious(after - before, curve, clusters)
    gain = cluster_bootstrap(evidence[step, strength] - ground, clusters, level=grid.level)
    better = gain.low > 0 and curve[step, strength] > before.mean()
    return Choice(
        steps=grid.steps[step],
        strength=grid.strengths[strength] if better else 0.0,
        before=float(before.mean()),
        after=float(curve[step, strength]),
        gain=gain,
        curve=tuple(tuple(float(value) for value in row) for row in curve),
        grid=grid,
    )


def _parts(grid: Grid, groups: Sequence[int], seed: int) -> list[Split]:
    return [split(groups, seed, grid.holdout)] if grid.holdout else folds(groups, grid.folds, seed)


def _cautious(gains: np.ndarray, curve: np.ndarray, clusters: np.ndarray) -> tuple[int, int]:
    """The weakest strength that is within one standard error of the best setting, at its own best number of steps.

    The rule of one standard error (Breiman et al., 1984): what is equally good as far as one can see is decided for the
    model that stays nearer to the original.

    Args:
        gains: [steps, strengths, Q], over the original.
        curve: [steps, strengths], mean of the metric.
        clusters: [Q] concepts.
    """
    best = np.unravel_index(int(curve.argmax()), curve.shape)
    around = cluster_bootstrap(gains[best], clusters, level=0.6827)
    enough = curve.max() - (around.high - around.low) / 2
    strength = int(np.argmax(curve.max(axis=0) >= enough))
    return int(curve[:, strength].argmax()), strength


def _values(experiment: Experiment, held: FeatureTable, adapters: Adapters) -> np.ndarray:
    """[2, Q]: the metric that decides which setting is best, and the value on which its gain is tested."""
    values = experiment.measure(held, adapters)
    return np.stack([values[experiment.metric], values[TEST_STATISTIC]])
