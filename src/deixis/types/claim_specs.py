"""What a paper claims, in a form that can be run: claims, their arms, and what the arms start from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

__all__ = ["Arm", "Claim", "Trunk"]


@dataclasses.dataclass(frozen=True)
class Arm:
    """One side of a claim.

    Attributes:
        method: its name.
        overrides: what is changed in its config.
        data: what is changed in the claim's `options`.
        grid: config field -> the values tried on validation; all arms of a claim try equally many settings.
        metric: what this arm is measured by, where arms ask one method in several ways; empty: the claim's.
    """

    method: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    grid: Mapping[str, tuple[Any, ...]] = dataclasses.field(default_factory=dict)
    metric: str = ""


@dataclasses.dataclass(frozen=True)
class Trunk:
    """An image tower that is trained once, before the arms of a claim, which all start from it.

    Attributes:
        method: that trains it, by name.
        overrides: what is changed in its `desk` settings; `encoder` names the tower, which is the task's otherwise.
        budget: images that it sees, of the claim's task.
        seed: of the images, the first weights and the order; none that an arm is reported with.
    """

    method: str
    overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    budget: int = 0
    seed: int = 1_000_000


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says, in a form that can be run: the first arm is the paper's, the others what it should beat.

    Attributes:
        statement: one sentence.
        arms: name of the arm -> Arm.
        metric: the one measured quantity, of the same kind in all arms; more is better.
        statistic: what is compared, see `deixis.engine.claims.curves.effect`: `final`, `area` (under the curve over
            images seen), `crossover` (from where on an arm stays ahead) or `ratio` (of the images needed for one
            level).
        minimum_effect: the smallest difference worth having: in the metric's unit for `final` and `area`, in shares of
            the budget for `crossover`, and for `ratio` how many times fewer images.
        data: the task, by name: a file in `engine/claims/tasks`.
        budget: images seen by each arm; in the task `few_shot`, images of each class.
        trial: share of the budget that is seen when settings are chosen.
        primary: whether the verdict hangs on this claim. One that is not takes the settings that the primary claim
            chose, where it trains the same, and chooses none of its own.
        options: of the task, its batch size among them.
        choose: when settings are chosen: `once`, with a seed that is not reported; or on `each seed`, on its own
            validation part, where each seed has a network of its own that arms do not train.
        again: the statement of an earlier claim of the same paper that this one tries anew, whose rows stay.
        seeds: how many are reported; 0: as many as are requested.
        first_seed: the first of them; a claim that tries another one again has others than that.
        cheap: the arm that is the obvious cheap rival, by name. It says nothing about what is run, and does not count
            in the fingerprint of a claim.
        trunk: what image towers of the arms start from; none: from random weights, or as the task makes them. Where it
            did not learn, no arm is trained, and the rows say so.
    """

    statement: str
    arms: Mapping[str, Arm]
    metric: str
    statistic: Literal["final", "area", "crossover", "ratio"]
    minimum_effect: float
    data: str
    budget: int
    trial: float = 1.0
    primary: bool = True
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    choose: Literal["once", "each seed"] = "once"
    again: str = ""
    seeds: int = 0
    first_seed: int = 0
    cheap: str = ""
    trunk: Trunk | None = None
