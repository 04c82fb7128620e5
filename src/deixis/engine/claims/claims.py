"""Tries a claim: all arms by the same rules, settings chosen on validation, one number a seed from the test part."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from deixis.engine.claims.curves import area
from deixis.engine.claims.design import TUNING_SEED, Design, of_data
from deixis.engine.claims.outcomes import TrialResult, judge_outcomes
from deixis.engine.claims.pending import shared_arms
from deixis.engine.claims.subprocess_pool import run_in_subprocesses
from deixis.engine.claims.trials import Cost, Trial, cost, run_trial
from deixis.engine.claims.tuning import WIDENINGS, Setting, at_edge, best, first_trials, next_trials, require_equal
from deixis.engine.claims.verdicts import PairedComparison
from deixis.errors import DeixisError

__all__ = [
    "OutOfTime",
    "Run",
    "TunedArm",
    "WorkShare",
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

Run = Callable[[Sequence[Trial]], list[TrialResult]]
"""Runs units, or reads what came out of them before."""


@dataclasses.dataclass(frozen=True)
class TunedArm:
    """What an arm is reported with.

    Attributes:
        setting: the best on validation.
        tried: settings and their values, in order; None where training failed.
        edges: fields whose best value is still the lowest or highest that was tried.
        runs: of each tried setting, what came out.
        own: seed -> the setting that is best for it, where each chooses its own.
    """

    setting: Setting
    tried: tuple[tuple[Setting, float | None], ...] = ()
    edges: tuple[str, ...] = ()
    runs: tuple[TrialResult, ...] = ()
    own: Mapping[int, Setting] = dataclasses.field(default_factory=dict)

    def of(self, seed: int) -> Setting:
        """The setting that a seed is reported with."""
        return self.own.get(seed, self.setting)


class OutOfTime(Exception):
    """The time of an instalment is over before all units are done.

    Args:
        missing: how many of those that were to be run are not done.
    """

    def __init__(self, missing: int) -> None:
        super().__init__(f"{missing} units are missing")
        self.missing = missing


@runtime_checkable
class WorkShare(Protocol):
    """What a runner asks of an instalment, see `deixis.engine.claims.units`."""

    def over(self) -> bool:
        """Whether no further unit is to be started."""

    def store(self, unit: Trial, result: TrialResult) -> None:
        """Keeps a finished unit where other machines find it."""


def here(
    folder: Path, design: Design, on_done: Callable[[], None] | None = None, share: WorkShare | None = None
) -> Run:
    """Runs units one after the other in this process.

    Args:
        folder: where their files lie.
        design: whose units they are.
        on_done: called after each.
        share: of the work; none: all of it.
    """

    def run(units: Sequence[Trial]) -> list[TrialResult]:
        found = []
        for unit in units:
            if share is not None and share.over() and not (folder / f"{unit.name}.json").exists():
                raise OutOfTime(len(_missing(units, folder)))
            found.append(run_trial(unit, folder, design.lab, design.commit))
            if share is not None:
                share.store(unit, found[-1])
            if on_done is not None:
                on_done()
        return found

    return run


def _missing(units: Sequence[Trial], folder: Path) -> dict[str, Trial]:
    """Those that are not done, by name: equal units (one setting in two rounds) would write one file at a time."""
    return {unit.name: unit for unit in units if not (folder / f"{unit.name}.json").exists()}


def in_processes(
    folder: Path,
    design: Design,
    jobs: int = 1,
    on_done: Callable[[], None] | None = None,
    share: WorkShare | None = None,
) -> Run:
    """Runs each unit in a process of its own, those that are done excepted.

    Args:
        folder: where their files lie.
        design: whose units they are.
        jobs: how many run at a time.
        on_done: called after each.
        share: of the work; none: all of it.
    """

    def read(unit: Trial) -> TrialResult:
        return run_trial(unit, folder, design.lab, design.commit)

    def run(units: Sequence[Trial]) -> list[TrialResult]:
        missing, stored = _missing(units, folder), set[str]()

        def done() -> None:
            for unit in units:
                fresh = unit.name not in stored and (folder / f"{unit.name}.json").exists()
                if share is not None and fresh:
                    stored.add(unit.name)
                    share.store(unit, read(unit))
            if on_done is not None:
                on_done()

        first = {unit.training: unit for unit in reversed(missing.values())}
        for wave in (first.values(), [unit for unit in missing.values() if unit is not first[unit.training]]):
            works = [functools.partial(run_trial, unit, folder, design.lab, design.commit) for unit in wave]
            run_in_subprocesses(works, jobs, done, share.over if share is not None else lambda: False)
        if left := _missing(units, folder):
            raise OutOfTime(len(left))
        return [read(unit) for unit in units]

    return run


def shared_runs(design: Design, first: Design) -> dict[str, str]:
    """Arm -> the arm of an earlier claim of the paper that trains the same, for arms that try no settings of their own.

    Args:
        design: of a claim that is not primary.
        first: of the earlier one.
    """
    if design.small != first.small:
        return {}
    found = shared_arms(design.claim, first.claim)
    return {arm: other for arm, other in found.items() if arm in design.chosen and other in first.chosen}


def reuse_tuning(design: Design, first: Design, tuned: Mapping[str, TunedArm]) -> Design:
    """The design with the settings that an earlier claim of the paper chose, where both train the same: one training
    then serves both, and no second choice is made.

    Args:
        design: of a claim that is not primary.
        first: of the earlier one.
        tuned: what that chose.
    """
    return dataclasses.replace(design, follows={arm: tuned[o].setting for arm, o in shared_runs(design, first).items()})


def stored_settings(design: Design, rows: Sequence[Mapping[str, Any]]) -> dict[str, TunedArm]:
    """What was chosen for the arms, from the rows that were added then.

    Args:
        design: of the claim.
        rows: of the claim, all of the same inputs.
    """
    settings = {row["arm"]: {**of_data(row["config"]["options"]), **row["config"]["settings"]} for row in rows}
    return {arm: TunedArm({key: settings[arm][key] for key in design.claim.arms[arm].grid}) for arm in design.chosen}


def needed(design: Design) -> dict[str, tuple[int, int]]:
    """Arm -> how many trials and how many reported runs are certain; widening a grid takes more.

    Raises:
        DeixisError: the arms try unequal numbers of settings.
    """
    trials = first_trials(design.grids())
    times = design.seeds if design.claim.choose == "each seed" else 1
    return {arm: (times * len(each) if len(each) > 1 else 0, design.seeds) for arm, each in trials.items()}


def pilot(design: Design, folder: Path, jobs: int = 1) -> dict[str, Cost]:
    """Arm -> what one of its runs takes, measured as runs are: in processes, so many at a time; with the last of the
    settings, since those that train longest stand there."""
    firsts = {arm: each[-1] for arm, each in first_trials(design.grids()).items()}
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
    if design.claim.choose == "each seed":
        return _tune_each(design, trials, run)
    tried: dict[str, list[tuple[Setting, float | None]]] = {arm: [] for arm in trials}
    runs: dict[str, list[TrialResult]] = {arm: [] for arm in trials}
    for widening in range(WIDENINGS + 1):
        pairs = [(arm, setting) for arm, each in trials.items() for setting in each]
        outcomes = run([design.unit(arm, setting, TUNING_SEED, "validation") for arm, setting in pairs])
        for (arm, setting), outcome in zip(pairs, outcomes, strict=True):
            tried[arm].append((setting, _value(design, outcome)))
            runs[arm].append(outcome)
        _refuse_failed(pairs, outcomes, tried)
        if widening < WIDENINGS:
            trials = next_trials(tried)
    require_equal({arm: len(each) for arm, each in tried.items()})
    return {
        arm: TunedArm(best(each), tuple(each), tuple(at_edge(each)), tuple(runs[arm])) for arm, each in tried.items()
    }


def _tune_each(design: Design, trials: Mapping[str, Sequence[Setting]], run: Run) -> dict[str, TunedArm]:
    """Chooses the settings of each arm and seed on the seed's own validation part; no grid is widened."""
    pairs = [(arm, setting) for arm, each in trials.items() for _ in design.numbers for setting in each]
    seeds = [seed for each in trials.values() for seed in design.numbers for _ in each]
    units = [design.unit(arm, setting, seed, "validation") for (arm, setting), seed in zip(pairs, seeds, strict=True)]
    outcomes = iter(run(units))
    found = {}
    for arm, each in trials.items():
        runs = {seed: [next(outcomes) for _ in each] for seed in design.numbers}
        tried = {
            seed: [(setting, _value(design, outcome)) for setting, outcome in zip(each, results, strict=True)]
            for seed, results in runs.items()
        }
        own = {seed: best(one) for seed, one in tried.items()}
        edges = sorted({name for one in tried.values() for name in at_edge(one)})
        every = tuple(pair for one in tried.values() for pair in one)
        ran = tuple(result for results in runs.values() for result in results)
        found[arm] = TunedArm(own[design.numbers[0]], every, tuple(edges), ran, own)
    return found


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
    units = [design.unit(arm, tuned[arm].of(seed), seed, "test") for seed in design.numbers for arm in tuned]
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
    first, own = next(iter(design.claim.arms)), [arm for arm in outcomes if arm in design.baselines]
    chosen = {arm: outcomes[arm] for arm in (first, *own)}
    found = judge_outcomes(chosen, design.claim.statistic, design.claim.minimum_effect)
    if not design.luck:
        return found
    return {arm: dataclasses.replace(each, notes=(*each.notes, design.luck)) for arm, each in found.items()}
