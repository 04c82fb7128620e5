"""Fits a recipe on the frozen features of some samples, or trains the towers themselves."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence

from deixis import engine
from deixis.data.splits import Split
from deixis.engine.adaptation.evaluate import Adapters, Measure
from deixis.engine.adaptation.recipes import AdaptationRecipe, trains_towers
from deixis.engine.adaptation.towers import ImageTextCache, tune
from deixis.engine.features.store import FeatureTable
from deixis.engine.training import train as training
from deixis.engine.training.stages import card_of, offers, trained
from deixis.errors import DeixisError
from deixis.nn.compute import on_threads
from deixis.nn.dual import DualEncoder
from deixis.types import Losses, Progress
from deixis.types.protocols import OffersAdapters

__all__ = ["Experiment", "fit"]


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
    # For products as small as an adapter's, more threads win little, and on a busy machine lose a great deal.
    with on_threads(1):
        return _fit(recipe, encoder, table, steps, seed)


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
