"""Tries a claim: all arms by the same rules, settings chosen on validation, one number a seed from the test part."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from deixis.engine.claims.claim_tasks import list_tasks, read_task
from deixis.engine.claims.curves import area, effect, value_at
from deixis.engine.claims.records import claim_hash
from deixis.engine.claims.subprocess_pool import run_in_subprocesses
from deixis.engine.claims.trials import BACKEND, Cost, Trial, TrialBackend, TrialResult, cost, run_trial
from deixis.engine.claims.tuning import WIDENINGS, Setting, at_edge, best, first_trials, next_trials
from deixis.engine.claims.verdicts import PairedComparison, judge
from deixis.errors import DeixisError
from deixis.types import Arm, Claim

__all__ = [
    "LEAST_SEEDS",
    "TUNING_SEED",
    "Design",
    "Run",
    "TunedArm",
    "at_equal_seconds",
    "compare_arms",
    "here",
    "in_processes",
    "needed",
    "pilot",
    "report",
    "reuse_tuning",
    "shared_runs",
    "stored_settings",
    "tune",
]

LEAST_SEEDS = 5
"""Seeds below which no verdict is recorded."""

TUNING_SEED = 1_000_000
"""The seed that settings are chosen with; those that are reported are 0, 1, 2... and stay below it."""

_POINTS = {"final": 6, "area": 11, "crossover": 11, "ratio": 11}

Run = Callable[[Sequence[Trial]], list[TrialResult]]
"""Runs units, or reads what came out of them before."""


@dataclasses.dataclass(frozen=True)
class Design:
    """How a claim is tried.

    Attributes:
        paper: whose claim it is.
        claim: what is tried.
        seeds: how many are reported.
        arms: only these; empty is all. Then nothing is recorded.
        small: a twentieth of the images, two seeds and no tuning, to see whether all works. Nothing is recorded.
        commit: of the code; it ends in `+changes` where that is not as committed.
        lab: what it is run with.
        follows: arm -> the settings that another claim chose for it, see `reuse_tuning`.
    """

    paper: str
    claim: Claim
    seeds: int = LEAST_SEEDS
    arms: tuple[str, ...] = ()
    small: bool = False
    commit: str = ""
    lab: TrialBackend = BACKEND
    follows: Mapping[str, Setting] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        names = list(self.claim.arms)
        unknown = [arm for arm in self.arms if arm not in names]
        if unknown:
            raise DeixisError(f"The claim has no arm {unknown[0]!r}.", f"Its arms are {', '.join(names)}.")
        if len(names) < 2:
            raise DeixisError(f"A claim of {self.paper} has one arm.", "Give it one more to compare with.")
        if not 2 <= self.seeds < TUNING_SEED:
            raise DeixisError(f"{self.seeds} seeds are requested.", f"Give at least 2; {LEAST_SEEDS} for a verdict.")
        if self.claim.minimum_effect <= (1 if self.claim.statistic == "ratio" else 0):
            raise DeixisError(
                f"The smallest effect worth having is {self.claim.minimum_effect:g}.", "It must be above none at all."
            )
        self._check_metrics()

    def _check_metrics(self) -> None:
        claim = self.claim
        known = read_task(claim.data).card.metrics if claim.data in list_tasks() else ()
        for metric in (claim.metric, *(arm.metric for arm in claim.arms.values() if arm.metric)):
            if known and metric not in known:
                raise DeixisError(
                    f"The task {claim.data!r} does not measure {metric!r}.", f"It measures: {', '.join(known)}."
                )

    @property
    def chosen(self) -> list[str]:
        """Names of the arms that are run, in the claim's order."""
        return [arm for arm in self.claim.arms if not self.arms or arm in self.arms]

    @property
    def baselines(self) -> list[str]:
        """What the first arm is compared with; nothing where the first arm is not run."""
        first = next(iter(self.claim.arms))
        return [arm for arm in self.chosen if arm != first] if first in self.chosen else []

    @property
    def axis(self) -> str:
        """What curves run over; empty for the number of training images."""
        return read_task(self.claim.data).card.axis if self.claim.data in list_tasks() else ""

    @property
    def inputs(self) -> str:
        """A fingerprint of what the outcome hangs on: the claim and the code of its methods."""
        codes = [self.codes[arm.method] for arm in self.claim.arms.values()]
        return hashlib.sha256(" ".join([claim_hash(self.claim), *codes]).encode()).hexdigest()[:16]

    @property
    def codes(self) -> dict[str, str]:
        """Method -> a fingerprint of its code."""
        return {arm.method: self.lab.code(arm.method) for arm in self.claim.arms.values()}

    @property
    def whole(self) -> bool:
        """Whether it is run as the rules ask."""
        return not self.arms and not self.small and self.seeds >= LEAST_SEEDS

    def grids(self) -> dict[str, Mapping[str, Sequence[Any]]]:
        """Arm -> the values that are tried."""
        return {arm: {} if self.small else self.claim.arms[arm].grid for arm in self.chosen}

    def unit(self, arm: str, setting: Setting, seed: int, split: Literal["validation", "test"]) -> Trial:
        """One run of an arm.

        Args:
            arm: its name.
            setting: what is tried, on top of the arm's overrides.
            seed: of data, weights and order.
            split: what is measured on.
        """
        claim, one = self.claim, self.claim.arms[arm]
        return Trial(
            paper=self.paper,
            claim=claim_hash(claim),
            arm=arm,
            method=one.method,
            settings={**one.overrides, **setting},
            task=claim.data,
            options={**claim.options, **one.data},
            metric=one.metric or claim.metric,
            budget=self._budget(split),
            seed=seed,
            split=split,
            points=self._points(arm),
            code=self.lab.code(one.method),
            changed=self.commit.endswith("+changes"),
        )

    def _budget(self, split: str) -> int:
        if self.small:
            return self.claim.budget // 20
        return round(self.claim.budget * self.claim.trial) if split == "validation" else self.claim.budget

    def _points(self, arm: str) -> int:
        arms, own = self.claim.arms.values(), dataclasses.replace(self.claim.arms[arm], metric="")
        sharing = sum(dataclasses.replace(each, metric="") == own for each in arms)
        if (arm in self.follows or sharing > 1) and self.claim.statistic == "final":
            return 2  # what was trained for the other claim, or the other arm, is read, not trained again
        return 3 if self.small else _POINTS[self.claim.statistic]


@dataclasses.dataclass(frozen=True)
class TunedArm:
    """What an arm is reported with.

    Attributes:
        setting: the best on validation.
        tried: settings and their values, in order; None where training failed.
        edges: fields whose best value is still the lowest or highest that was tried.
    """

    setting: Setting
    tried: tuple[tuple[Setting, float | None], ...] = ()
    edges: tuple[str, ...] = ()


def here(folder: Path, design: Design, on_done: Callable[[], None] | None = None) -> Run:
    """Runs units one after the other in this process.

    Args:
        folder: where their files lie.
        design: whose units they are.
        on_done: called after each.
    """

    def run(units: Sequence[Trial]) -> list[TrialResult]:
        found = []
        for unit in units:
            found.append(run_trial(unit, folder, design.lab, design.commit))
            if on_done is not None:
                on_done()
        return found

    return run


def in_processes(folder: Path, design: Design, jobs: int = 1, on_done: Callable[[], None] | None = None) -> Run:
    """Runs each unit in a process of its own, those that are done excepted.

    Args:
        folder: where their files lie.
        design: whose units they are.
        jobs: how many run at a time.
        on_done: called after each.
    """

    def run(units: Sequence[Trial]) -> list[TrialResult]:
        # Equal units (one setting in two rounds) would write one file at a time.
        missing = {unit.name: unit for unit in units if not (folder / f"{unit.name}.json").exists()}
        first = {unit.training: unit for unit in reversed(missing.values())}
        for wave in (first.values(), [unit for unit in missing.values() if unit is not first[unit.training]]):
            works = [functools.partial(run_trial, unit, folder, design.lab, design.commit) for unit in wave]
            run_in_subprocesses(works, jobs, on_done)
        return [run_trial(unit, folder, design.lab, design.commit) for unit in units]

    return run


def shared_runs(design: Design, first: Design) -> dict[str, str]:
    """Arm -> the arm of a paper's first claim that trains the same, for arms that try no settings of their own.

    Args:
        design: of a claim that is not primary.
        first: of the primary claim.
    """
    alike = [(each.data, each.options, each.budget) for each in (design.claim, first.claim)]
    if design.claim.primary or alike[0] != alike[1] or design.small != first.small:
        return {}
    return {
        name: other
        for name in design.chosen
        for other in reversed(first.chosen)
        if not design.claim.arms[name].grid and _alike(design.claim.arms[name], first.claim.arms[other])
    }


def _alike(one: Arm, other: Arm) -> bool:
    return (one.method, one.data) == (other.method, other.data)


def reuse_tuning(design: Design, first: Design, tuned: Mapping[str, TunedArm]) -> Design:
    """The design with the settings that the paper's first claim chose, where both train the same: one training then
    serves both, and no second choice is made.

    Args:
        design: of a claim that is not primary.
        first: of the primary claim.
        tuned: what that chose.
    """
    return dataclasses.replace(design, follows={arm: tuned[o].setting for arm, o in shared_runs(design, first).items()})


def stored_settings(design: Design, rows: Sequence[Mapping[str, Any]]) -> dict[str, TunedArm]:
    """What was chosen for the arms, from the rows that were added then.

    Args:
        design: of the claim.
        rows: of the claim, written with what computes the same.
    """
    settings = {row["arm"]: row["config"]["settings"] for row in rows}
    return {arm: TunedArm({key: settings[arm][key] for key in design.claim.arms[arm].grid}) for arm in design.chosen}


def needed(design: Design) -> dict[str, tuple[int, int]]:
    """Arm -> how many trials and how many reported runs are certain; widening a grid takes more.

    Raises:
        DeixisError: the arms try unequal numbers of settings.
    """
    trials = first_trials(design.grids())
    return {arm: (len(each) if len(each) > 1 else 0, design.seeds) for arm, each in trials.items()}


def pilot(design: Design, folder: Path, jobs: int = 1) -> dict[str, Cost]:
    """Arm -> what one of its runs takes, measured as runs are: in processes, so many at a time."""
    firsts = {arm: each[0] for arm, each in first_trials(design.grids()).items()}
    units = {arm: design.unit(arm, setting, TUNING_SEED, "validation") for arm, setting in firsts.items()}
    folder.mkdir(parents=True, exist_ok=True)
    run_in_subprocesses([functools.partial(cost, unit, folder, design.lab) for unit in units.values()], jobs)
    return {arm: cost(unit, folder, design.lab) for arm, unit in units.items()}


def tune(design: Design, run: Run) -> dict[str, TunedArm]:
    """Chooses the settings of each arm on validation, with a seed that is not reported.

    What decides is the area under the learning curve where the claim is about speed (`area`, `ratio`), else its end.

    Raises:
        DeixisError: the arms try unequal numbers of settings, or training failed with all of an arm's.
    """
    trials = first_trials(design.grids())
    if all(len(each) == 1 for each in trials.values()):
        return {arm: TunedArm(dict(design.follows.get(arm, each[0]))) for arm, each in trials.items()}
    tried: dict[str, list[tuple[Setting, float | None]]] = {arm: [] for arm in trials}
    for widening in range(WIDENINGS + 1):
        pairs = [(arm, setting) for arm, each in trials.items() for setting in each]
        outcomes = run([design.unit(arm, setting, TUNING_SEED, "validation") for arm, setting in pairs])
        for (arm, setting), outcome in zip(pairs, outcomes, strict=True):
            tried[arm].append((setting, _value(design, outcome)))
        _refuse_failed(pairs, outcomes, tried)
        if widening < WIDENINGS:
            trials = next_trials(tried)
    return {arm: TunedArm(best(each), tuple(each), tuple(at_edge(each))) for arm, each in tried.items()}


def _refuse_failed(
    pairs: Sequence[tuple[str, Setting]], outcomes: Sequence[TrialResult], tried: Mapping[str, Any]
) -> None:
    """Says why, where an arm failed with all it tried."""
    for (arm, setting), outcome in zip(pairs, outcomes, strict=True):
        if all(value is None for _, value in tried[arm]):
            raise DeixisError(
                f"Training of the arm {arm!r} failed with all {len(tried[arm])} settings, with {setting} so: "
                f"{outcome.failed}",
                "Give the arm a grid of milder values.",
            )


def _value(design: Design, outcome: TrialResult) -> float | None:
    if outcome.failed:
        return None
    return area(outcome.curve) if design.claim.statistic in ("area", "ratio") else outcome.curve[-1][1]


def report(design: Design, tuned: Mapping[str, TunedArm], run: Run) -> dict[str, list[TrialResult]]:
    """Arm -> what came out on the test part, one a seed; all arms have the same seeds.

    Args:
        design: of the claim.
        tuned: arm -> its settings.
        run: runs units.
    """
    units = [design.unit(arm, tuned[arm].setting, seed, "test") for seed in range(design.seeds) for arm in tuned]
    outcomes = iter(run(units))
    found: dict[str, list[TrialResult]] = {arm: [] for arm in tuned}
    for unit in units:
        found[unit.arm].append(next(outcomes))
    return found


def compare_arms(design: Design, outcomes: Mapping[str, Sequence[TrialResult]]) -> dict[str, PairedComparison]:
    """Baseline -> what the seeds say of the first arm against it.

    Args:
        design: of the claim.
        outcomes: of `report`.
    """
    claim, (first, *_) = design.claim, design.claim.arms
    differences = {
        baseline: [
            effect(claim.statistic, ours.curve, theirs.curve).value
            for ours, theirs in zip(outcomes[first], outcomes[baseline], strict=True)
        ]
        for baseline in design.baselines
    }
    return judge(differences, claim.minimum_effect, ratio=claim.statistic == "ratio")


def at_equal_seconds(outcomes: Mapping[str, Sequence[TrialResult]]) -> dict[str, list[float]]:
    """Arm -> the metric, one a seed, when the fastest arm was done."""
    seconds = [min(each.seconds for each in seed) for seed in zip(*outcomes.values(), strict=True)]
    return {
        arm: [
            value_at(each.curve, each.curve[-1][0] * (end / each.seconds if each.seconds else 1.0))
            for each, end in zip(found, seconds, strict=True)
        ]
        for arm, found in outcomes.items()
    }
