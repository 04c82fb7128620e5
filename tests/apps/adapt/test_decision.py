"""What is saved: the verdict, what was forgotten outside, and the controls, heard together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import pytest

from deixis.apps.adapt import decision
from deixis.apps.adapt.decision import Decision, decide
from deixis.engine.adaptation.adapt import AdaptationArm, AdaptationPlan, run
from deixis.engine.adaptation.divisions import divide
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.recipes import AdaptationRecipe, Grid
from deixis.engine.adaptation.verdict import judge
from deixis.ops.stats import Interval
from tests.planted import planted

RIDGE = AdaptationPlan(AdaptationRecipe("ridge", {"penalty": 0.05}), Grid(steps=(1,)))
METRIC = "text_to_image_r1"
NOTHING = {"mean_mrr": Interval(0.0, -0.004, 0.004), "mean_r10": Interval(0.0, -0.004, 0.004)}
LOSS = NOTHING | {"mean_mrr": Interval(-0.03, -0.04, -0.02)}


@functools.cache
def experiment() -> Experiment:
    world = planted(gain=1.0, concepts=40)
    return world.experiment(divide(world.groups, 0, 6))


@functools.cache
def arm() -> AdaptationArm:
    return run(experiment(), RIDGE)


def decided(
    outcome: str,
    monkeypatch: pytest.MonkeyPatch,
    forgotten: Mapping[str, Mapping[str, Interval]] | None = None,
    controls: Mapping[str, tuple[AdaptationPlan, AdaptationArm]] | None = None,
) -> Decision:
    """A decision on an arm whose held-out values alone would lead to `outcome`."""
    verdict = dataclasses.replace(judge(arm(), METRIC), outcome=outcome)
    monkeypatch.setattr(decision, "judge", lambda each, metric: verdict if each is arm() else judge(each, metric))
    plans, arms = {"ridge": RIDGE}, {"ridge": arm()}
    for name, (plan, other) in (controls or {}).items():
        plans[name], arms[name] = plan, other
    return decide(experiment(), plans, arms, METRIC, forgotten or {})


def test_a_proven_gain_is_saved_whatever_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decided("adapted", monkeypatch, {"emoji": LOSS}).final.strength > 0


def test_a_probable_gain_is_saved_only_where_nothing_was_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = decided("probable", monkeypatch, {"emoji": NOTHING})
    assert (saved.outcome, saved.reasons) == ("probable", ())
    assert saved.final.strength > 0
    lost = decided("probable", monkeypatch, {"emoji": LOSS, "art4apps": NOTHING})
    assert lost.final.strength == 0
    assert lost.reasons == ("a loss of 1 point or more on emoji can't be ruled out",)


def test_where_forgetting_was_not_measured_a_probable_gain_is_not_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = decided("probable", monkeypatch)
    assert unknown.final.strength == 0
    assert "deixis data get emoji" in unknown.reasons[0]


def test_without_a_gain_the_original_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    assert decided("original", monkeypatch, {"emoji": NOTHING}).final.strength == 0


def test_a_control_that_fails_again_and_again_stops_the_verdict_and_names_groups(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every picture under two groups: captions dealt out at random can be learned."""
    world = planted(gain=0.0, concepts=12, known=0.1)
    table = dataclasses.replace(
        world.table.take([i for i in range(24) for _ in range(3)]), ids=tuple(f"{i}.png" for i in range(72))
    )
    leaky = dataclasses.replace(world.experiment(divide(range(72), 0, 6)), table=table, groups=tuple(range(72)))
    plans = {"ridge": RIDGE, "shuffled captions": dataclasses.replace(RIDGE, shuffled=True)}
    found = decide(leaky, plans, {name: run(leaky, plan) for name, plan in plans.items()}, METRIC, {"emoji": NOTHING})
    assert found.outcome == "untrusted"
    assert found.final.strength == 0
    assert "shuffled captions give a gain as well" in found.reasons[0]
    assert ".png and " in found.reasons[0]
    assert "--group COLUMN" in found.reasons[0]


def test_a_control_that_fails_once_is_dealt_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """One deal in some fifty looks like a gain by chance, and must not stop a good run."""
    plan = dataclasses.replace(RIDGE, shuffled=True)
    found = decided("adapted", monkeypatch, controls={"shuffled captions": (plan, run(experiment(), RIDGE))})
    assert found.controls["shuffled captions"].outcome != "original"
    assert found.outcome == "adapted"


def test_a_recipe_without_selection_that_changes_nothing_stops_the_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dataclasses.replace(RIDGE, grid=None)
    found = decided("adapted", monkeypatch, controls={"naive": (plan, arm().retained())})
    assert found.outcome == "untrusted"
    assert "naive: it changes no rank" in found.reasons[0]


def test_a_control_that_ends_with_the_original_is_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dataclasses.replace(RIDGE, shuffled=True)
    shuffled = run(experiment(), plan)
    found = decided("adapted", monkeypatch, controls={"shuffled captions": (plan, shuffled)})
    shown = found.decided({"ridge": arm(), "shuffled captions": shuffled})
    assert shown["ridge"] is arm()
    assert all(gain == (0, 0, 0) for gain in shown["shuffled captions"].intervals("difference").values())
