"""How a claim is tried: its arms, seeds and budget, checked before the first step."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from deixis.engine.claims.claim_tasks import list_tasks, read_task
from deixis.engine.claims.pending import ClaimCode, claim_code
from deixis.engine.claims.records import claim_hash
from deixis.engine.claims.trials import BACKEND, Trial, TrialBackend
from deixis.engine.claims.trunks.trained_trunk import TRUNK
from deixis.engine.claims.tuning import Setting
from deixis.engine.claims.verdicts import LEAST_SEEDS
from deixis.errors import DeixisError
from deixis.types import Claim

__all__ = ["LEAST_SEEDS", "TUNING_SEED", "Design", "of_data", "require_other_seeds", "split_setting", "written"]

TUNING_SEED = 1_000_000
"""The seed that settings are chosen with; those that are reported are 0, 1, 2... and stay below it."""

_SMALL = 20
"""Part of the images that a small try sees, 1 in so many."""

_POINTS = {"final": 6, "area": 11, "crossover": 11, "ratio": 11}


_DATA = "data."
"""Before the names of those settings that are options of the task, not of the method."""


def of_data(options: Mapping[str, Any]) -> Setting:
    """Options of a task as settings.

    Args:
        options: by name.
    """
    return {f"{_DATA}{name}": value for name, value in options.items()}


def split_setting(setting: Setting) -> tuple[Setting, Setting]:
    """Settings of the method, and options of the task.

    Args:
        setting: both.
    """
    data = {name.removeprefix(_DATA): value for name, value in setting.items() if name.startswith(_DATA)}
    return {name: value for name, value in setting.items() if not name.startswith(_DATA)}, data


def written(unit: Trial) -> dict[str, dict[str, Any]]:
    """Settings and options of a unit as a row holds them: some values, like a crop, are dataclasses.

    Args:
        unit: of a claim.
    """
    facts = dataclasses.asdict(unit)
    return {"settings": facts["settings"], "options": facts["options"]}


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
        if self.claim.cheap not in names[1:]:
            raise DeixisError(
                f"A claim of {self.paper} does not say which arm is the obvious cheap rival"
                f"{f' ({self.claim.cheap!r} is none)' if self.claim.cheap else ''}.",
                f"Give the claim `cheap`, one of: {', '.join(names[1:])}.",
            )
        if self.claim.first_seed < 0:
            raise DeixisError(f"The first seed is {self.claim.first_seed}.", "It must be 0 or more.")
        if not 2 <= self.seeds < TUNING_SEED - self.claim.first_seed:
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
    def numbers(self) -> range:
        """The seeds that are reported."""
        return range(self.claim.first_seed, self.claim.first_seed + self.seeds)

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
    def luck(self) -> str:
        """What has to be said where settings are chosen on one network and reported on others; else empty."""
        own = self.claim.data in list_tasks() and read_task(self.claim.data).card.own_networks
        if not own or self.claim.choose == "each seed" or not any(arm.grid for arm in self.claim.arms.values()):
            return ""
        return "settings were chosen on one network and reported on others, for which they need not be the best"

    @functools.cached_property
    def code(self) -> ClaimCode:
        """The claim with fingerprints of the code that it passes through."""
        return claim_code(self.paper, self.claim, self.seeds, self.lab.code, self.lab.around)

    @property
    def inputs(self) -> str:
        """A fingerprint of what the outcome hangs on: the claim, the code of its methods and of what they pass through,
        and the number of threads."""
        return self.code.inputs

    @property
    def codes(self) -> Mapping[str, str]:
        """Method -> a fingerprint of its code; and module -> the same, for what the methods pass through: the task, the
        measures, the ops and the networks."""
        return self.code.codes

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
        config, data = split_setting(setting)
        return Trial(
            paper=self.paper,
            claim=claim_hash(claim),
            arm=arm,
            method=one.method,
            settings={**one.overrides, **config},
            task=claim.data,
            options={**claim.options, **one.data, **data, **self._trunk()},
            metric=one.metric or claim.metric,
            budget=self._budget(split),
            seed=seed,
            split=split,
            points=self._points(arm),
            code=self.code.units[arm],
            changed=self.commit.endswith("+changes"),
        )

    def _trunk(self) -> dict[str, Any]:
        """What the arms start from, as an option beside those of the task."""
        trunk = self.claim.trunk
        if trunk is None:
            return {}
        return {TRUNK: dataclasses.replace(trunk, budget=trunk.budget // _SMALL) if self.small else trunk}

    def _budget(self, split: str) -> int:
        if self.small:
            return self.claim.budget // _SMALL
        return round(self.claim.budget * self.claim.trial) if split == "validation" else self.claim.budget

    def _points(self, arm: str) -> int:
        arms, own = self.claim.arms.values(), dataclasses.replace(self.claim.arms[arm], metric="")
        sharing = sum(dataclasses.replace(each, metric="") == own for each in arms)
        if (arm in self.follows or sharing > 1) and self.claim.statistic == "final":
            return 2  # what was trained for the other claim, or the other arm, is read, not trained again
        return 3 if self.small else _POINTS[self.claim.statistic]


def require_other_seeds(paper: str, claims: Sequence[Claim]) -> None:
    """Refuses claims that try an earlier one again, and do not say which, or with the same seeds.

    Args:
        paper: whose claims they are.
        claims: in the order of its file.

    Raises:
        DeixisError: which claim, and what is wrong.
    """
    before: dict[str, range] = {}
    for claim in claims:
        numbers = range(claim.first_seed, claim.first_seed + (claim.seeds or LEAST_SEEDS))
        if claim.again and claim.again not in before:
            raise DeixisError(
                f"A claim of {paper} tries {claim.again!r} again, and no claim before it says so.",
                "Give `again` the statement of an earlier claim of the same paper, word for word.",
            )
        if claim.again and set(numbers) & set(before[claim.again]):
            raise DeixisError(
                f"A claim of {paper} tries {claim.again!r} again with seeds {numbers[0]} to {numbers[-1]}, of which "
                "some were reported before.",
                f"Give it first_seed={before[claim.again].stop} or more.",
            )
        before[claim.statement] = numbers
