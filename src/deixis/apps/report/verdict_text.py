"""Which model a run saved and why, in sentences for its report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from deixis.apps.common.formatting import metric, plain, signed
from deixis.apps.report.charts import estimate
from deixis.apps.report.report_tables import chosen, primary, unseen

__all__ = ["Verdict", "verdict"]

_TITLES = {
    "adapted": ("better", "The adapted model was saved."),
    "original": ("unclear", "The original model was retained: no proven gain."),
    "untrusted": (
        "worse",
        "The figures below are not to be trusted: a control failed. The original model was retained.",
    ),
}


class Verdict(NamedTuple):
    """Which model was retained, and why, in sentences."""

    tone: str
    title: str
    lines: list[str]


def verdict(result: Mapping[str, Any]) -> Verdict:
    """Says which model was retained, what decided it, and what the test part says about it."""
    if isinstance(result.get("verdict"), Mapping):
        return _judged(result, result["verdict"])
    retained, change = result.get("kept"), estimate(result["difference"].get(primary(result)))
    tone = change.tone if change else "unclear"
    if retained == "original":
        title = "The original model was retained: no proven gain."
        tone = "unclear"
    elif tone == "better":
        title = "The adapted model was saved."
    elif tone == "worse":
        title = "The adapted model was saved, but on the test part it is worse."
    else:
        title = "The adapted model was saved, but there is no proven gain."
    return Verdict(tone, title, [line for line in (_decided(result), _tested(result), _saved(result)) if line])


def _decided(result: Mapping[str, Any]) -> str:
    start = (
        f"The choice was made on validation alone, on {unseen(result)} held out from training; the test part only "
        "reports."
    )
    picks = [pick for pick in chosen(result) if pick.get("strength") is not None]
    if not picks:
        return start
    taken = sum(pick["strength"] > 0 for pick in picks)
    if taken == len(picks):
        return f"{start} There the adapted model was taken in all {_splits(taken)}."
    if taken == 0:
        return f"{start} There nothing that was tried was better beyond chance, in any split."
    return (
        f"{start} There the adapted model was taken in {taken} of {_splits(len(picks))}; in the others nothing "
        "that was tried was better beyond chance."
    )


def _tested(result: Mapping[str, Any]) -> str:
    key = primary(result)
    change = estimate(result["difference"].get(key))
    if change is None:
        return ""
    if change.low is None or change.high is None:
        return f"On the test part the primary measure ({metric(key).full}) changed by {signed(change.value)} points."
    if change.tone == "same":
        return f"On the test part the primary measure ({metric(key).full}) did not change."
    inside = change.low <= 0 <= change.high
    meaning = "which includes 0: it could be chance" if inside else "which leaves 0 out"
    return (
        f"On the test part the primary measure ({metric(key).full}) changed by {signed(change.value)} points; "
        f"the 95\u00a0% interval is {change.span}, {meaning}."
    )


def _saved(result: Mapping[str, Any]) -> str:
    if result.get("kept") == "original":
        return "With all pairs together no setting beat the original beyond chance, so the saved model is the original."
    final = (result.get("method") or {}).get("final") or {}
    if final.get("steps") is None or final.get("strength") is None:
        return ""
    return (
        f"The saved model was fitted once more, on all pairs, with {plain(final['steps'])} steps at strength "
        f"{plain(final['strength'])}. The figures below come from the models of the splits, each tested on "
        f"{unseen(result)} that it was not trained on."
    )


def _splits(number: int) -> str:
    return "1 split" if number == 1 else f"{number} splits"


def _judged(result: Mapping[str, Any], judged: Mapping[str, Any]) -> Verdict:
    """Of a run whose result says how it was decided."""
    outcome, adapted = judged["outcome"], result.get("kept") == "adapted"
    saved = "was saved" if adapted else "was not saved"
    tone, title = _TITLES.get(outcome, ("unclear", f"Probably better; the adapted model {saved}."))
    lines = [_evidence(result, judged), *(_reason(each) for each in judged["reasons"])]
    if judged["borderline"]:
        lines.append(
            "The decision is borderline: with other divisions of the same pictures (--seed) it may be another."
        )
    return Verdict(tone, title, [*lines, _kept(result, adapted)])


def _reason(clause: str) -> str:
    return f"{clause[:1].upper()}{clause[1:]}."


def _evidence(result: Mapping[str, Any], judged: Mapping[str, Any]) -> str:
    evidence, count = estimate(judged["evidence"]), (result.get("split") or {}).get("count")
    assert evidence is not None
    place = f"All figures come from {unseen(result)} unseen in training and selection, over {plain(count)} divisions."
    if evidence.tone == "better":
        return f"{place} There the right answers moved up in rank, beyond chance."
    return f"{place} There the right answers did not move up in rank beyond chance."


def _kept(result: Mapping[str, Any], adapted: bool) -> str:
    final = (result.get("method") or {}).get("final") or {}
    if not adapted:
        return "The figures below are those of the best candidate; the saved model is the original."
    return (
        f"The saved model was fitted once more, on all pairs, with {plain(final['steps'])} steps at strength "
        f"{plain(final['strength'])}, chosen from all divisions."
    )
