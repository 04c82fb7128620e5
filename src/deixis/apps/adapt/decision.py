"""Which model a run saves: the verdict on the held-out values, what was forgotten outside, and the controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from deixis.engine.adaptation.adapt import AdaptationArm, AdaptationPlan, run
from deixis.engine.adaptation.fitting import Experiment
from deixis.engine.adaptation.leaks import likely_leaks
from deixis.engine.adaptation.select import Choice
from deixis.engine.adaptation.verdict import FORGOTTEN, LEVEL, Judgement, Outcome, has_effect, judge, lost_outside
from deixis.ops.stats import Interval

__all__ = ["Decision", "decide", "headline_metric"]

_OUTSIDE = ("mean_mrr", "mean_r10")
_DEALS, _NAMED = 3, 2


@dataclasses.dataclass(frozen=True)
class Decision:
    """What a run decides.

    Attributes:
        verdict: by the held-out values alone.
        outcome: with the controls heard.
        final: the setting of the saved model; strength 0 keeps the original.
        reasons: why a probable gain was not saved, or why nothing is to be trusted, as clauses.
        controls: arm -> the verdict on it, of those that are judged.
        metric: that a person reads.
        forgotten: set outside -> metric -> difference to the original.
    """

    verdict: Judgement
    outcome: Outcome
    final: Choice
    reasons: tuple[str, ...]
    controls: Mapping[str, Judgement]
    metric: str
    forgotten: Mapping[str, Mapping[str, Interval]]

    def decided(self, arms: Mapping[str, AdaptationArm]) -> dict[str, AdaptationArm]:
        """The arms, those of controls that end with the original being the original."""
        kept = {name for name, each in self.controls.items() if each.outcome == "original"}
        return {name: arm.retained() if name in kept else arm for name, arm in arms.items()}

    def to_dict(self) -> dict[str, Any]:
        """The part `verdict` of `result.json`."""
        return {
            "outcome": self.outcome,
            "borderline": self.verdict.borderline,
            "reasons": list(self.reasons),
            "evidence": {**self.verdict.evidence._asdict(), "measure": "log rank", "level": LEVEL},
            "gain": self.verdict.gain._asdict(),
            "monte_carlo_error": dict(zip(("evidence", "gain"), self.verdict.error, strict=True)),
            "controls": {
                name: {"outcome": each.outcome, "evidence": each.evidence._asdict()}
                for name, each in self.controls.items()
            },
        }


def headline_metric(experiment: Experiment) -> str:
    """The metric of the plain sentence: among the first ten where a test gallery holds enough pictures for that."""
    if experiment.metric == "accuracy":
        return "accuracy"
    smallest = min(len(split.test) for split in experiment.splits)
    return "text_to_image_r10" if smallest >= 100 else "text_to_image_r5" if smallest >= 40 else "text_to_image_r1"


def decide(
    experiment: Experiment,
    plans: Mapping[str, AdaptationPlan],
    arms: Mapping[str, AdaptationArm],
    metric: str,
    forgotten: Mapping[str, Mapping[str, Interval]],
) -> Decision:
    """Decides by the first arm; the others are controls.

    Args:
        experiment: data, divisions, measure.
        plans: arm -> how it was adapted.
        arms: arm -> what came of it.
        metric: of the sentence.
        forgotten: set outside -> metric -> difference to the original.
    """
    arm = next(iter(arms.values()))
    assert arm.final is not None
    verdict = judge(arm, metric)
    controls = {name: judge(arms[name], metric) for name, plan in plans.items() if plan.shuffled}
    failures = tuple(_failures(experiment, plans, arms, controls, metric))
    outcome: Outcome = "untrusted" if failures else verdict.outcome
    reasons = failures or (tuple(_not_saved(forgotten)) if outcome == "probable" else ())
    saved = outcome in ("adapted", "probable") and not reasons
    final = arm.final if saved else dataclasses.replace(arm.final, strength=0.0)
    return Decision(verdict, outcome, final, reasons, controls, metric, forgotten)


def _not_saved(forgotten: Mapping[str, Mapping[str, Interval]]) -> Iterator[str]:
    """Why a probable gain is not saved: no evidence that nothing is lost is no evidence of it either."""
    if not forgotten:
        yield "no other data set was there to measure forgetting on (deixis data get emoji)"
    lost = lost_outside(forgotten, _OUTSIDE)
    if lost:
        yield f"a loss of {-100 * FORGOTTEN:g} point or more on {' and '.join(lost)} can't be ruled out"


def _failures(
    experiment: Experiment,
    plans: Mapping[str, AdaptationPlan],
    arms: Mapping[str, AdaptationArm],
    controls: Mapping[str, Judgement],
    metric: str,
) -> Iterator[str]:
    """Controls that failed, as clauses, with the likeliest cause."""
    for name, verdict in controls.items():
        if verdict.outcome != "original" and _fails_again(experiment, plans[name], metric):
            yield f"{name} give a gain as well, which can't be; {_cause(experiment)}"
    for name, plan in plans.items():
        if plan.grid is None and not has_effect(arms[name]):
            yield f"{name}: it changes no rank, so that the measure can't see what adapting does"


def _fails_again(experiment: Experiment, plan: AdaptationPlan, metric: str) -> bool:
    """Whether another deal of captions fails, too: one in some fifty fails by chance, a leak fails again and again."""
    again = (dataclasses.replace(plan, deal=deal) for deal in range(1, _DEALS))
    return any(judge(run(experiment, each), metric).outcome != "original" for each in again)


def _cause(experiment: Experiment) -> str:
    leaks = likely_leaks(experiment.table, experiment.groups)
    if not leaks:
        return "no leak between groups was found; give a coarser --group column"
    first = leaks[0]
    named = "; ".join(f"{one} and {other}" for one, other in first.pairs[:_NAMED])
    return f"{first.cause}{f', such as {named}' if named else ''}: give such pictures one group (--group COLUMN)"
