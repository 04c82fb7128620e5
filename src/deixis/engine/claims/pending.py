"""What is still to be run of claims, and how many minutes it takes: counted from rows and from the source, without
torch."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from statistics import mean
from typing import Any, NamedTuple

from deixis import zoo
from deixis.engine.claims.records import Ledger, claim_hash
from deixis.engine.claims.source_code import code_key, passed_through, source_hash
from deixis.engine.claims.verdicts import LEAST_SEEDS
from deixis.types import Arm, Claim
from deixis.zoo.parts import part_kind

__all__ = [
    "ClaimCode",
    "PendingArm",
    "PendingClaim",
    "claim_code",
    "fresh_rows",
    "leader",
    "missing_model",
    "pending",
    "shared_arms",
    "superseded",
    "up_to_date",
]


class ClaimCode(NamedTuple):
    """A claim and the code that it passes through.

    Attributes:
        paper: whose claim it is.
        claim: the claim.
        seeds: how many are reported.
        codes: method, and module that it passes through -> fingerprint.
        units: arm -> fingerprint of what its units pass through.
    """

    paper: str
    claim: Claim
    seeds: int
    codes: Mapping[str, str]
    units: Mapping[str, str]

    @property
    def inputs(self) -> str:
        """A fingerprint of what the outcome hangs on: the claim, the code and the number of threads."""
        return code_key(claim_hash(self.claim), self.codes)

    @property
    def numbers(self) -> range:
        """The seeds that are reported."""
        return range(self.claim.first_seed, self.claim.first_seed + self.seeds)


def claim_code(
    paper: str,
    claim: Claim,
    seeds: int = 0,
    code: Callable[[str], str] = source_hash,
    around: Callable[[str, str], Mapping[str, str]] = passed_through,
) -> ClaimCode:
    """A claim with fingerprints of the present code.

    Args:
        paper: whose claim it is.
        claim: the claim.
        seeds: how many are reported; 0: as many as the claim says.
        code: method -> a fingerprint of its source.
        around: (method, task) -> module -> fingerprint.
    """
    methods = {arm: one.method for arm, one in claim.arms.items()}
    first = [claim.trunk.method] if claim.trunk is not None else []
    own = {method: code(method) for method in (*methods.values(), *first)}
    beside = {method: around(method, claim.data) for method in own}
    codes = {**own, **{name: each for found in beside.values() for name, each in found.items()}}
    trunk = {name: each for method in first for name, each in {method: own[method], **beside[method]}.items()}
    units = {arm: code_key(own[method], {**beside[method], **trunk}) for arm, method in methods.items()}
    return ClaimCode(paper, claim, seeds or claim.seeds or LEAST_SEEDS, codes, units)


def fresh_rows(one: ClaimCode, ledger: Ledger) -> list[dict[str, Any]]:
    """The rows of a claim that were written with the present code, or with code that is known to compute the same."""
    rows, present = ledger.rows(one.paper, claim_hash(one.claim)), one.inputs
    inputs = {row["config"]["inputs"] for row in rows}
    fresh = {each for each in inputs if each == present or ledger.computes_the_same(each, one.codes)}
    return [row for row in rows if row["config"]["inputs"] in fresh]


def up_to_date(one: ClaimCode, ledger: Ledger) -> bool:
    """Whether rows of these very inputs are there for every arm and seed."""
    there = {(row["arm"], row["seed"]) for row in fresh_rows(one, ledger)}
    return all((arm, seed) in there for arm in one.claim.arms for seed in one.numbers)


def superseded(claims: Sequence[Claim]) -> set[str]:
    """Statements of claims that a later one of the same paper tries again: their rows stay, and none are added."""
    return {claim.again for claim in claims if claim.again}


def missing_model(claim: Claim) -> str:
    """The model that a claim needs and that this version of deixis does not have; empty where there is none."""
    known = {name for each in part_kind("dual_encoder").sources for name in (each.form, each.example)}
    options = (claim.options, *(arm.data for arm in claim.arms.values()))
    models = [str(each["model"]) for each in options if "model" in each]
    return next((model for model in models if model not in {*zoo.MODELS, *known}), "")


def shared_arms(claim: Claim, first: Claim) -> dict[str, str]:
    """Arm -> the arm of an earlier claim that trains the same, for arms that try no settings of their own.

    Args:
        claim: one that is not primary.
        first: an earlier one of the same paper.
    """
    alike = [(each.data, each.options, each.budget, each.trunk) for each in (claim, first)]
    if claim.primary or alike[0] != alike[1]:
        return {}
    return {
        name: other
        for name, arm in claim.arms.items()
        for other in reversed(list(first.arms))
        if not arm.grid and (arm.method, arm.data) == (first.arms[other].method, first.arms[other].data)
    }


def leader(claim: Claim, claims: Sequence[Claim]) -> Claim | None:
    """The claim whose chosen settings another one takes; None where it has its own, or there is nothing to choose.

    Args:
        claim: one of them.
        claims: of the paper, in the order of its file.
    """
    before = itertools.takewhile(lambda each: each != claim, claims)
    return next((each for each in before if shared_arms(claim, each)), None)


@dataclasses.dataclass(frozen=True)
class PendingArm:
    """What is missing of an arm.

    Attributes:
        trials: to choose its settings with; widening a grid takes more.
        seeds: that are reported.
        minutes: that both take on one core, about; None where no run was measured.
    """

    trials: int
    seeds: int
    minutes: float | None


@dataclasses.dataclass(frozen=True)
class PendingClaim:
    """What is missing of a claim.

    Attributes:
        paper: whose claim it is.
        claim: the claim.
        arms: name -> what is missing.
        stale: whether it has rows, of other code.
        waits: for a model that is not there; empty: it can be run.
    """

    paper: str
    claim: Claim
    arms: Mapping[str, PendingArm]
    stale: bool = False
    waits: str = ""

    @property
    def runs(self) -> int:
        """How many runs are missing."""
        return sum(each.trials + each.seeds for each in self.arms.values())

    @property
    def minutes(self) -> float | None:
        """Of one core, about; None where an arm was not measured."""
        known = [each.minutes for each in self.arms.values() if each.minutes is not None]
        return sum(known) if len(known) == len(self.arms) else None


Rank = tuple[bool, bool, float]
"""Whether a claim waits, whether it has rows, and its minutes."""


def pending(found: Sequence[ClaimCode], ledger: Ledger) -> list[PendingClaim]:
    """What is missing, in the order in which it is best run: claims without rows first, the shortest first; one that
    takes its settings from another behind that; last those that wait for a model.

    Args:
        found: claims, those of a paper in the order of its file.
        ledger: with the rows that there are.
    """
    listed: dict[str, dict[str, PendingClaim]] = {}
    order: list[tuple[Rank, PendingClaim]] = []
    ranks: dict[tuple[str, str], Rank] = {}
    claims = {one.paper: [each.claim for each in found if each.paper == one.paper] for one in found}
    for one in found:
        if one.claim.statement in superseded(claims[one.paper]) or up_to_date(one, ledger):
            continue
        first = leader(one.claim, claims[one.paper])
        each = _pending(one, first if first and first.statement in listed.get(one.paper, {}) else None, ledger)
        listed.setdefault(one.paper, {})[one.claim.statement] = each
        rank = (bool(each.waits), each.stale, math.inf if each.minutes is None else each.minutes)
        ahead = ranks.get((one.paper, first.statement), rank) if first is not None else rank
        ranks[one.paper, one.claim.statement] = max(rank, ahead)
        order.append((max(rank, ahead), each))
    return [each for _, each in sorted(order, key=lambda pair: pair[0])]


def _pending(one: ClaimCode, first: Claim | None, ledger: Ledger) -> PendingClaim:
    claim, name = one.claim, claim_hash(one.claim)
    rows = ledger.rows(one.paper, name)
    alike = rows or [row for row in ledger.rows(one.paper) if row["claim"] == claim.again]
    units = [row for row in ledger.units_of() if (row["paper"], row["claim"]) == (one.paper, name)]
    trained, arms = list[Arm](), {}
    for arm, each in claim.arms.items():
        own = dataclasses.replace(each, metric="")
        read = own in trained or (first is not None and arm in shared_arms(claim, first))
        trained.append(own)
        done = [row["split"] for row in units if row["arm"] == arm and row["code"] == one.units[arm]]
        tried = math.prod(map(len, each.grid.values())) if each.grid else 1
        times = (tried if tried > 1 else 0) * (one.seeds if claim.choose == "each seed" else 1)
        missing = (max(0, times - done.count("validation")), max(0, one.seeds - done.count("test")))
        took = [
            row["seconds"] * claim.budget / row["budget"]
            for row in alike
            if row["arm"] == arm or (not rows and row["config"]["method"] == each.method)
        ]
        arms[arm] = PendingArm(*missing, _minutes(missing, ledger.costs(name, arm), took, claim.trial, read))
    return PendingClaim(one.paper, claim, arms, bool(rows), missing_model(claim))


def _minutes(
    missing: tuple[int, int],
    costs: Mapping[str, Mapping[str, Any]],
    took: Sequence[float],
    share: float,
    read: bool,
) -> float | None:
    """Minutes of the missing runs: as measured; else as earlier ones took, those of the claim that is tried again in
    proportion to the budget. `read` where another run trains them."""
    if costs:
        key, other = (
            "measuring" if read else "seconds",
            next(iter(costs.values())),
        )  # trials at full length take as long
        splits = zip(missing, ("validation", "test"), strict=True)
        return sum(n * costs.get(split, other)[key] for n, split in splits) / 60
    if not took:
        return None
    return 0.0 if read else mean(took) * (missing[0] * share + missing[1]) / 60
