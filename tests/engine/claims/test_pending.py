"""What is missing of claims: counted run by run, with minutes, in the order in which it is best run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from deixis.engine.claims.design import Design
from deixis.engine.claims.pending import ClaimCode, claim_code, leader, missing_model, pending, superseded
from deixis.engine.claims.records import CLAIM_KEYS, COST_KEYS, UNIT_KEYS, Ledger, append_rows, claim_hash
from deixis.types import Arm, Claim
from tests import toy_claims


def toy(statement: str = "One.", **changed: Any) -> Claim:
    return toy_claims.claim("final", **{"statement": statement, **changed})


def coded(*claims: Claim, code: str = "1") -> list[ClaimCode]:
    return [claim_code("line", each, code=lambda name: f"{name}{code}", around=lambda *_: {}) for each in claims]


def unit(one: ClaimCode, arm: str, split: str, number: int) -> dict[str, Any]:
    values = ("line", claim_hash(one.claim), arm, number, split, {}, f"{arm}-{split}-{number}", one.units[arm], {})
    return dict(zip(UNIT_KEYS, (*values, "abc", "2026"), strict=True))


def measured(ledger: Ledger, claim: Claim, seconds: float) -> None:
    rows = [("line", claim_hash(claim), arm, split) for arm in claim.arms for split in ("validation", "test")]
    more = {"validation": (seconds / 2, 1.0), "test": (seconds, 6.0)}
    append_rows(
        ledger.cost,
        [dict(zip(COST_KEYS, (*row, *more[row[3]], "abc", "2026"), strict=True)) for row in rows],
        COST_KEYS,
    )


def reported(ledger: Ledger, claim: Claim, inputs: str) -> None:
    row = {"paper": "line", "claim": claim.statement, "seconds": 60.0, "budget": claim.budget}
    config = {"claim": claim_hash(claim), "inputs": inputs, "method": "line"}
    rows = [{**row, "arm": arm, "seed": seed, "config": config} for arm in claim.arms for seed in range(5)]
    ledger.add([dict.fromkeys(CLAIM_KEYS, 0) | each for each in rows], [])


def test_every_missing_run_counts_once_with_the_minutes_that_one_of_its_kind_takes(tmp_path: Path) -> None:
    ledger, claim = Ledger(tmp_path), toy()
    [one] = coded(claim)
    assert [(each.runs, each.minutes) for each in pending([one], ledger)] == [(16, None)], "2 x (3 trials + 5 seeds)"
    measured(ledger, claim, 120.0)
    assert pending([one], ledger)[0].minutes == 2 * (3 * 1 + 5 * 2)
    for number in range(2):
        ledger.add_unit(unit(one, "clean", "validation", number))
    ledger.add_unit(unit(one, "noisy", "test", 0))
    ledger.add_unit(unit(coded(claim, code="2")[0], "noisy", "test", 1))
    [each] = pending([one], ledger)
    assert {arm: (left.trials, left.seeds) for arm, left in each.arms.items()} == {"clean": (1, 5), "noisy": (3, 4)}
    assert each.minutes == 1 + 5 * 2 + 3 * 1 + 4 * 2


def test_trials_at_full_length_take_what_a_reported_run_does(tmp_path: Path) -> None:
    ledger, claim = Ledger(tmp_path), toy()
    rows = [("line", claim_hash(claim), arm, "test", 60.0, 1.0, "abc", "2026") for arm in claim.arms]
    append_rows(ledger.cost, [dict(zip(COST_KEYS, row, strict=True)) for row in rows], COST_KEYS)
    assert pending(coded(claim), ledger)[0].minutes == 2 * (3 + 5)


def test_what_is_missing_is_what_the_engine_runs(tmp_path: Path) -> None:
    """The names of units, and the code that they belong to, are those of the design."""
    design = Design("line", toy(), lab=toy_claims.LAB)
    assert design.unit("clean", {}, 0, "test").code == design.code.units["clean"]
    ledger = Ledger(tmp_path)
    reported(ledger, design.claim, design.inputs)
    assert pending([design.code], ledger) == []
    changed = dataclasses.replace(design, lab=dataclasses.replace(toy_claims.LAB, code=lambda name: "other"))
    [stale] = pending([changed.code], ledger)
    assert stale.stale
    assert stale.minutes == 2 * (3 + 5), "by the seconds of its rows"


def test_claims_without_rows_come_first_the_shortest_first_and_one_that_follows_another_behind_it(
    tmp_path: Path,
) -> None:
    ledger, plain = Ledger(tmp_path), {name: Arm("line") for name in ("clean", "noisy")}
    old, long = toy("Old."), toy("Long.", budget=320)
    follows = toy("Follows.", budget=320, primary=False, arms={"a": Arm("line"), "b": Arm("line", {}, {"noise": 4.0})})
    short = toy("Short.", arms=plain, budget=480)
    reported(ledger, old, "of other code")
    for claim, seconds in ((long, 600.0), (follows, 60.0), (short, 90.0)):
        measured(ledger, claim, seconds)
    claims = [old, long, follows, short]
    assert leader(follows, claims) == long
    assert [leader(each, claims) for each in (old, long, short)] == [None] * 3
    found = pending(coded(*claims), ledger)
    assert [each.claim.statement for each in found] == ["Short.", "Long.", "Follows.", "Old."]
    assert [each.stale for each in found] == [False, False, False, True]
    assert found[2].minutes == 10 * 6 / 60, "its models are trained for the other claim, and only measured for it"


def test_arms_that_ask_one_training_in_several_ways_train_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    claim = toy(arms={"one": Arm("line"), "other": Arm("line", metric="height")})
    measured(ledger, claim, 120.0)
    [each] = pending(coded(claim), ledger)
    assert [left.minutes for left in each.arms.values()] == [5 * 2, 5 * 6 / 60]


def test_a_claim_that_is_tried_again_is_not_run_any_more(tmp_path: Path) -> None:
    first, again = toy(), toy("Once more.", again="One.", first_seed=5)
    assert superseded([first, again]) == {"One."}
    [each] = pending(coded(first, again), Ledger(tmp_path))
    assert (each.claim, each.minutes) == (again, None)


def test_where_nothing_was_measured_a_claim_takes_what_the_one_that_it_tries_again_took_for_its_budget(
    tmp_path: Path,
) -> None:
    first, ledger = toy(), Ledger(tmp_path)
    arms = {"clean": Arm("line"), "another name": Arm("line", {}, {"noise": 4.0})}
    again = toy("Once more.", again="One.", first_seed=5, budget=3 * first.budget, arms=arms)
    reported(ledger, first, "of other code")
    [each] = pending(coded(first, again), ledger)
    assert [left.minutes for left in each.arms.values()] == [5 * 3, 5 * 3]


@pytest.mark.parametrize(("model", "waits"), [("starter", ""), ("tiny", ""), ("no-such-model", "no-such-model")])
def test_a_claim_about_a_model_that_is_not_there_waits_for_it(tmp_path: Path, model: str, waits: str) -> None:
    claim = toy(options={"batch_size": 8, "model": model})
    assert missing_model(claim) == waits
    assert pending(coded(claim), Ledger(tmp_path))[0].waits == waits
