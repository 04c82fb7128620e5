"""The experiment of the main job: concept-disjoint splits, choice on training concepts, verdict on the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from deixis.engine.adaptation.evaluate import Adapters, Measure, intervals, pooled, set_strength
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from deixis.engine.adaptation.select import Choice, Experiment, choose, fit
from deixis.engine.features.store import FeatureTable
from deixis.ops.stats import Interval, corrected_t_interval

__all__ = [
    "AdaptationArm",
    "AdaptationPlan",
    "Experiment",
    "SplitResult",
    "forgotten",
    "refit",
    "run",
    "seed_spread",
    "shuffled_captions",
]


@dataclasses.dataclass(frozen=True)
class AdaptationPlan:
    """One way of adapting.

    Attributes:
        recipe: what is fitted.
        grid: what is chosen from, on training concepts; None chooses nothing.
        fixed: steps at full strength where nothing is chosen.
        shuffled: train on captions dealt out at random (the control that must learn nothing).
    """

    recipe: AdaptationRecipe
    grid: Grid | None = dataclasses.field(default_factory=Grid)
    fixed: int = 300
    shuffled: bool = False


@dataclasses.dataclass(frozen=True)
class SplitResult:
    """One split: per-query values before and after, on its test samples.

    Attributes:
        index: of the split.
        queries: the test samples, by their place in the table.
        before: metric -> [Q].
        after: metric -> [Q].
        adapters: as chosen.
        choice: how they were chosen; None where nothing was.
    """

    index: int
    queries: tuple[int, ...]
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    adapters: Adapters
    choice: Choice | None

    @property
    def difference(self) -> dict[str, np.ndarray]:
        """Each metric's [Q] values, after minus before."""
        return {name: self.after[name] - self.before[name] for name in self.before}


@dataclasses.dataclass(frozen=True)
class AdaptationArm:
    """One way of adapting, over all splits.

    Attributes:
        results: one a split.
        groups: the concept of each sample of the table.
    """

    results: tuple[SplitResult, ...]
    groups: tuple[int, ...]

    def _clusters(self, mask: np.ndarray | None) -> np.ndarray:
        concepts = np.concatenate([[self.groups[i] for i in result.queries] for result in self.results])
        return concepts if mask is None else concepts[self._kept(mask)]

    def _kept(self, mask: np.ndarray) -> np.ndarray:
        return np.concatenate([mask[list(result.queries)] for result in self.results])

    def intervals(self, which: str, mask: np.ndarray | None = None) -> dict[str, Interval]:
        """Pooled over splits, with intervals over concepts.

        Args:
            which: `before`, `after` or `difference`.
            mask: [B], true for the samples of the table that count; all where None.
        """
        values = pooled([getattr(result, which) for result in self.results])
        if mask is not None:
            values = {name: value[self._kept(mask)] for name, value in values.items()}
        return intervals(values, self._clusters(mask))

    def corrected(self) -> dict[str, Interval]:
        """The t interval over splits, widened for their overlapping training sets, of each metric's difference."""
        total = len(self.groups)
        share = 1 - float(np.mean([len(result.queries) for result in self.results])) / total
        means = {name: [float(r.difference[name].mean()) for r in self.results] for name in self.results[0].before}
        return {name: corrected_t_interval(values, share) for name, values in means.items()}


def run(
    experiment: Experiment, plan: AdaptationPlan, on_split: Callable[[int, Choice | None], None] | None = None
) -> AdaptationArm:
    """Adapts and measures on every split.

    Args:
        experiment: data, splits, measure.
        plan: how.
        on_split: called with the index and the choice after each.
    """
    results = []
    for index, split in enumerate(experiment.splits):
        train, test = experiment.table.take(split.train), experiment.table.take(split.test)
        groups = [experiment.groups[i] for i in split.train]
        seed = experiment.seed + index
        if plan.shuffled:
            train = train.with_text_of(shuffled_captions(groups, seed))
        adapters, choice = _adapt(experiment, plan, train, groups, seed)
        before, after = experiment.measure(test, (None, None)), experiment.measure(test, adapters)
        results.append(SplitResult(index, tuple(split.test), before, after, adapters, choice))
        if on_split:
            on_split(index, choice)
    return AdaptationArm(tuple(results), tuple(experiment.groups))


def shuffled_captions(groups: Sequence[int], seed: int) -> list[int]:
    """Whose caption each sample gets when captions are dealt out at random: those of one other concept for all of a
    concept's images, so that held-out concepts stay unseen.

    Args:
        groups: [B] concepts.
        seed: of the deal.

    Returns:
        [B] places of samples.
    """
    members: dict[int, list[int]] = {}
    for place, group in enumerate(groups):
        members.setdefault(group, []).append(place)
    names = list(members)
    order = [0] * len(groups)
    for group, giver in zip(names, np.random.default_rng(seed).permutation(len(names)).tolist(), strict=True):
        captions = members[names[giver]]
        for i, place in enumerate(members[group]):
            order[place] = captions[i % len(captions)]
    return order


def _adapt(
    experiment: Experiment, plan: AdaptationPlan, train: FeatureTable, groups: Sequence[int], seed: int
) -> tuple[Adapters, Choice | None]:
    if plan.grid is None:
        taken = fit(plan.recipe, experiment.encoder, train, (plan.fixed,), seed, experiment.library)
        return set_strength(taken[plan.fixed], 1.0), None
    choice = choose(plan.recipe, plan.grid, experiment, train, groups, seed)
    return refit(experiment, plan.recipe, choice, train, seed), choice


def refit(experiment: Experiment, recipe: AdaptationRecipe, choice: Choice, train: FeatureTable, seed: int) -> Adapters:
    """Adapters fitted on all of `train` with the chosen steps and strength; none where the original was kept."""
    if choice.strength == 0:
        return None, None
    return set_strength(
        fit(recipe, experiment.encoder, train, (choice.steps,), seed, experiment.library)[choice.steps], choice.strength
    )


def seed_spread(experiment: Experiment, recipe: AdaptationRecipe, result: SplitResult, seeds: int = 5) -> list[float]:
    """The primary metric's mean difference on one split, trained anew with each of several seeds."""
    if result.choice is None or result.choice.strength == 0:
        return []
    split = experiment.splits[result.index]
    train, test = experiment.table.take(split.train), experiment.table.take(split.test)
    before = result.before[experiment.metric]
    values = []
    for seed in range(seeds):
        adapters = refit(experiment, recipe, result.choice, train, experiment.seed + 100 * (seed + 1))
        values.append(float((experiment.measure(test, adapters)[experiment.metric] - before).mean()))
    return values


def forgotten(
    arm: AdaptationArm, measure: Measure, outside: FeatureTable, concepts: Sequence[int], names: Sequence[str] = ()
) -> dict[str, Interval]:
    """What the adapters of all splits lose (negative) or win on material outside the data.

    Args:
        arm: whose adapters are asked.
        measure: gives the per-query values of adapters.
        outside: a table of other samples.
        concepts: the concept of each.
        names: metrics to keep; all where empty.
    """
    before = measure(outside, (None, None))
    parts: list[Mapping[str, np.ndarray]] = []
    for result in arm.results:
        after = measure(outside, result.adapters)
        parts.append({name: after[name] - before[name] for name in names or before})
    return intervals(pooled(parts), np.tile(np.asarray(concepts), len(parts)))
