"""Many divisions of one collection into training and held-out concepts, and what every setting reaches on the latter.

In each division one training gives all numbers of steps, and all strengths are measured on the held-out part. From
these tables `deixis.engine.adaptation.select` chooses and `deixis.engine.adaptation.verdict` judges, without any
further training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from deixis.data.splits import Split, split
from deixis.engine.adaptation.evaluate import Adapters, Values, set_strength
from deixis.engine.adaptation.fitting import Experiment, fit
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid

__all__ = ["HeldOut", "divide", "division_seed", "hold_out", "setting_values"]


def division_seed(seed: int, index: int) -> int:
    """The seed of one division of a run; runs with other seeds share none, which seed + index would not give."""
    return int(np.random.SeedSequence((seed, index)).generate_state(1)[0])


def divide(
    groups: Sequence[int], seed: int, count: int, train: float = 0.6, labels: Sequence[str | None] | None = None
) -> list[Split]:
    """Divides samples by whole groups, `count` times.

    Args:
        groups: [N] group of each sample.
        seed: of the run.
        count: how many divisions.
        train: the wished share of samples to train on.
        labels: [N] classes that should stand on both sides.
    """
    return [split(groups, division_seed(seed, index), train, labels=labels) for index in range(count)]


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """One division: the values of the original and of every setting on the held-out samples.

    Attributes:
        index: of the division.
        queries: the held-out samples, by their place in the table.
        before: metric -> [Q] of the original.
        after: metric -> [steps, strengths, Q].
        fitted: steps -> adapters, at any strength; empty where they are fitted again when needed.
    """

    index: int
    queries: tuple[int, ...]
    before: Values
    after: Values
    fitted: Mapping[int, Adapters]


def hold_out(
    experiment: Experiment,
    recipe: AdaptationRecipe,
    grid: Grid,
    keep: bool = True,
    on_division: Callable[[int], None] | None = None,
) -> list[HeldOut]:
    """Trains once in each division and measures every setting on its held-out part.

    Args:
        experiment: data, divisions, measure.
        recipe: what is fitted.
        grid: the settings.
        keep: whether the adapters are kept, which for towers takes the memory of several models.
        on_division: called with the index after each.
    """
    found = []
    for index, part in enumerate(experiment.splits):
        seed = division_seed(experiment.seed, index)
        train, test = experiment.table.take(part.train), experiment.table.take(part.test)
        fitted = fit(recipe, experiment.encoder, train, grid.steps, seed, experiment.library)
        before = experiment.measure(test, (None, None))
        after = setting_values(experiment, test, fitted, grid)
        found.append(HeldOut(index, tuple(part.test), before, after, fitted if keep else {}))
        if on_division:
            on_division(index)
    return found


def setting_values(
    experiment: Experiment, test: object, fitted: Mapping[int, Adapters], grid: Grid
) -> dict[str, Float[np.ndarray, "S T Q"]]:
    """Metric -> the values of every number of steps and strength on the samples of a table."""
    rows = [
        [experiment.measure(test, set_strength(fitted[step], strength)) for strength in grid.strengths]  # type: ignore[arg-type]
        for step in grid.steps
    ]
    return {name: np.array([[cell[name] for cell in row] for row in rows]) for name in rows[0][0]}
