"""The experiment of the main job: divisions by concept, settings chosen from the others, held-out values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from deixis.engine.adaptation.divisions import HeldOut, division_seed, hold_out
from deixis.engine.adaptation.evaluate import Adapters, Measure, Values, set_strength
from deixis.engine.adaptation.fitting import Experiment, fit
from deixis.engine.adaptation.leaks import linked_groups
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid, trains_towers
from deixis.engine.adaptation.select import Choice, Pool, choose
from deixis.engine.features.store import FeatureTable
from deixis.ops.stats import Interval, cluster_t_interval, corrected_t_interval

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

_DEALS = 10**6
"""Beyond the index of any division, so that deals of captions have seeds of their own."""

_FORGOTTEN = 5
"""Divisions whose adapters are measured outside: more change no interval, which is over the concepts outside."""


@dataclasses.dataclass(frozen=True)
class AdaptationPlan:
    """One way of adapting.

    Attributes:
        recipe: what is fitted.
        grid: what is chosen from; None chooses nothing.
        fixed: steps at full strength where nothing is chosen.
        shuffled: on captions dealt out at random, in training, choice and test alike (the control that must end with
            the original).
        deal: which of several such deals.
        divisions: how many of the divisions it takes; None takes all.
    """

    recipe: AdaptationRecipe
    grid: Grid | None = dataclasses.field(default_factory=Grid)
    fixed: int = 300
    shuffled: bool = False
    deal: int = 0
    divisions: int | None = None


@dataclasses.dataclass(frozen=True)
class SplitResult:
    """One division: per-query values before and after, on its held-out samples.

    Attributes:
        index: of the division.
        queries: the held-out samples, by their place in the table.
        before: metric -> [Q].
        after: metric -> [Q].
        adapters: as chosen.
        choice: how they were chosen, from the other divisions; None where nothing was.
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
    """One way of adapting, over all divisions.

    Attributes:
        results: one a division.
        groups: the concept of each sample of the table.
        final: chosen from all divisions; None where nothing was chosen.
    """

    results: tuple[SplitResult, ...]
    groups: tuple[int, ...]
    final: Choice | None = None

    def by_sample(
        self, which: str, name: str, mask: np.ndarray | None = None
    ) -> tuple[Float[np.ndarray, " N"], Int[np.ndarray, " N"]]:
        """The samples that were ever held out: the mean of a metric over the divisions that did, and their concepts.

        Args:
            which: `before`, `after` or `difference`.
            name: of the metric.
            mask: [B], true for the samples of the table that count; all where None.
        """
        total, count = np.zeros(len(self.groups)), np.zeros(len(self.groups))
        for result in self.results:
            total[list(result.queries)] += getattr(result, which)[name]
            count[list(result.queries)] += 1
        held = (count > 0) if mask is None else (count > 0) & mask
        return total[held] / count[held], np.asarray(self.groups)[held]

    def evidence(self, name: str, level: float = 0.95) -> Interval:
        """The mean difference with its interval over concepts: for a test of whether there is a gain at all."""
        values, clusters = self.by_sample("difference", name)
        return cluster_t_interval(values, clusters, level)

    def gain(self, name: str, mask: np.ndarray | None = None) -> Interval:
        """The mean difference with an interval that allows for another training set, too.

        The variance over concepts is multiplied by 1 + test/train, the term by which Nadeau and Bengio (2003) correct
        that of resampled divisions.

        Args:
            name: of the metric.
            mask: [B], true for the samples of the table that count; all where None.
        """
        value, low, high = cluster_t_interval(*self.by_sample("difference", name, mask))
        factor = self.train_share**-0.5
        return Interval(value, value - factor * (value - low), value + factor * (high - value))

    def intervals(self, which: str, mask: np.ndarray | None = None) -> dict[str, Interval]:
        """The mean over samples of each metric, with its interval: of a difference its `gain`, else over concepts.

        Args:
            which: `before`, `after` or `difference`.
            mask: [B], true for the samples of the table that count; all where None.
        """
        names = self.results[0].before
        if which == "difference":
            return {name: self.gain(name, mask) for name in names}
        return {name: cluster_t_interval(*self.by_sample(which, name, mask)) for name in names}

    @property
    def train_share(self) -> float:
        """The share of the samples that a division trains on."""
        return 1 - float(np.mean([len(result.queries) for result in self.results])) / len(self.groups)

    def corrected(self) -> dict[str, Interval]:
        """The t interval over divisions, widened for their overlapping training sets, of each metric's difference."""
        means = {name: [float(r.difference[name].mean()) for r in self.results] for name in self.results[0].before}
        return {name: corrected_t_interval(values, self.train_share) for name, values in means.items()}

    def retained(self) -> AdaptationArm:
        """The arm whose outcome is the original model, bit for bit."""
        results = [dataclasses.replace(each, after=each.before, adapters=(None, None)) for each in self.results]
        return dataclasses.replace(self, results=tuple(results))

    def without(self, index: int) -> AdaptationArm:
        """The arm without one of its divisions."""
        return dataclasses.replace(self, results=self.results[:index] + self.results[index + 1 :])


def run(
    experiment: Experiment, plan: AdaptationPlan, on_division: Callable[[int], None] | None = None
) -> AdaptationArm:
    """Adapts and measures in every division.

    Args:
        experiment: data, divisions, measure.
        plan: how.
        on_division: called with the index of each when it is measured.
    """
    experiment = dataclasses.replace(experiment, splits=experiment.splits[: plan.divisions])
    if plan.shuffled:
        # Pictures of one class are alike, and should be; of one concept they should all be in its group.
        labels = experiment.metric == "accuracy"
        linked = experiment.groups if labels else linked_groups(experiment.table, experiment.groups)
        order = shuffled_captions(linked, division_seed(experiment.seed, _DEALS + plan.deal))
        experiment = dataclasses.replace(experiment, table=experiment.table.with_text_of(order))
    grid = plan.grid or Grid((plan.fixed,), (1.0,))
    light = not trains_towers(plan.recipe.method)
    divisions = hold_out(experiment, plan.recipe, grid, keep=light, on_division=on_division)
    if plan.grid is None:
        results = [_chosen(experiment, plan.recipe, grid, each, None) for each in divisions]
        return AdaptationArm(tuple(results), tuple(experiment.groups))
    pool = Pool.of(divisions, experiment.metric, experiment.groups)
    choices = [choose(pool.without(row), grid) for row in range(len(divisions))]
    results = [
        _chosen(experiment, plan.recipe, grid, each, choice) for each, choice in zip(divisions, choices, strict=True)
    ]
    return AdaptationArm(tuple(results), tuple(experiment.groups), choose(pool, grid))


def _chosen(
    experiment: Experiment, recipe: AdaptationRecipe, grid: Grid, held: HeldOut, choice: Choice | None
) -> SplitResult:
    """A division with the setting that was chosen for it, or the only one."""
    steps, strength = (grid.steps[0], grid.strengths[0]) if choice is None else (choice.steps, choice.strength)
    cell = grid.steps.index(steps), grid.strengths.index(strength)
    after: Values = {name: values[cell] for name, values in held.after.items()}
    if held.fitted:
        adapters = set_strength(held.fitted[steps], strength)
    else:
        train = experiment.table.take(experiment.splits[held.index].train)
        seed = division_seed(experiment.seed, held.index)
        adapters = _fit_one(experiment, recipe, train, steps, strength, seed)
    return SplitResult(held.index, held.queries, held.before, after, adapters, choice)


def _fit_one(
    experiment: Experiment, recipe: AdaptationRecipe, train: FeatureTable, steps: int, strength: float, seed: int
) -> Adapters:
    fitted = fit(recipe, experiment.encoder, train, (steps,), seed, experiment.library)
    return set_strength(fitted[steps], strength)


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


def refit(experiment: Experiment, recipe: AdaptationRecipe, choice: Choice, train: FeatureTable, seed: int) -> Adapters:
    """Adapters fitted on all of `train` with the chosen steps and strength; none where the original was kept."""
    if choice.strength == 0:
        return None, None
    return _fit_one(experiment, recipe, train, choice.steps, choice.strength, seed)


def seed_spread(experiment: Experiment, recipe: AdaptationRecipe, result: SplitResult, seeds: int = 5) -> list[float]:
    """The primary metric's mean difference in one division, trained anew with each of several seeds."""
    if result.choice is None:
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
    """What the adapters of the first divisions lose (negative) or win on material outside the data.

    Args:
        arm: whose adapters are measured.
        measure: gives the per-query values of adapters.
        outside: a table of other samples.
        concepts: the concept of each.
        names: metrics to keep; all where empty.
    """
    before = measure(outside, (None, None))
    parts: list[Mapping[str, np.ndarray]] = [measure(outside, r.adapters) for r in arm.results[:_FORGOTTEN]]
    clusters = np.asarray(concepts)
    return {
        name: cluster_t_interval(np.mean([part[name] for part in parts], axis=0) - before[name], clusters)
        for name in names or before
    }
