"""The result in words: what a person reads first."""

from __future__ import annotations

from collections.abc import Mapping

from deixis.apps.common.formatting import points, signed

__all__ = ["BORDERLINE", "METRIC_NAMES", "in_points", "sentence"]

BORDERLINE = "borderline"
"""Stands in a sentence that another seed might not give."""

METRIC_NAMES = {
    **{
        f"{side}_{metric}": f"{words}, {name}"
        for side, words in (("image_to_text", "image to text"), ("text_to_image", "text to image"), ("mean", "mean"))
        for metric, name in (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"), ("mrr", "MRR"))
    },
    "accuracy": "accuracy",
    "mrr": "MRR of the class",
    "box_accuracy": "best box right (IoU 0.5)",
    "box_pointing": "middle of the best box right",
}


def in_points(interval: Mapping[str, float]) -> str:
    """An interval of shares, in points: `+4.3 [+1.6, +7.2]`."""
    value, low, high = (signed(interval[key]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _counts(result: Mapping[str, object], metric: str) -> tuple[str, str, str, str]:
    before, after, gain = (result[key][metric] for key in ("before", "after", "difference"))  # type: ignore[index]
    low, high = (signed(gain[key], 0) for key in ("low", "high"))
    return points(before["value"], 0), points(after["value"], 0), low, high


def sentence(result: Mapping[str, object], metric: str, primary: str) -> str:
    """What adapting bought, in numbers of searches, and which model was saved.

    Args:
        result: `before`, `after`, `difference` (metric -> value, low, high), `kept` and `verdict`, as in
            `result.json`; runs of before have no `verdict`.
        metric: the one that is reported, such as `text_to_image_r10`.
        primary: the one that decides whether a gain is proven, where there is no `verdict`.
    """
    said, verdict = _stated(result, metric), result.get("verdict")
    held_out = "pictures" if metric.endswith("accuracy") else "concepts"
    if not isinstance(verdict, Mapping):
        return _of_old(result, said, primary, held_out)
    borderline = f", {BORDERLINE}" if verdict["borderline"] else ""
    reasons = "; ".join(verdict["reasons"])
    if verdict["outcome"] == "untrusted":
        return f"Not to be trusted here: {reasons}. The original model was retained; {said}."
    if verdict["outcome"] == "adapted":
        return f"Adapted{borderline}: {said}."
    if verdict["outcome"] == "original":
        return (
            f"The original model was retained{borderline}: no candidate was better beyond chance on held-out "
            f"{held_out}; {said}."
        )
    if result["kept"] == "original":
        return f"Probably better{borderline}, but the original model was retained, as {reasons}: {said}."
    return f"Probably better{borderline}, and adapted, as nothing was forgotten elsewhere: {said}."


def _stated(result: Mapping[str, object], metric: str) -> str:
    before, after, low, high = _counts(result, metric)
    if metric == "box_accuracy":
        said = f"of 100 phrases, the best box was right for {before} before and {after} after"
    elif metric == "accuracy":
        said = f"of 100 pictures, {before} were given the right class before and {after} after"
    else:
        place = "came first" if metric.endswith("r1") else f"was among the first {_words(metric)}"
        said = f"of 100 searches by words, the right picture {place} in {before} before and {after} after"
    return f"{said} (difference between {low} and {high})"


def _of_old(result: Mapping[str, object], said: str, primary: str, held_out: str) -> str:
    """Of a run that was made before there were verdicts."""
    if result["kept"] == "original":
        return f"The original model was retained: no candidate was better beyond chance on held-out {held_out}; {said}."
    gain = result["difference"][primary]  # type: ignore[index]
    if gain["low"] > 0:
        return f"Adapted: {said}."
    if gain["high"] < 0:
        return f"Adapting made it worse: {said}. Use the original model."
    return f"No proven gain: {said}; the interval of the primary measure includes 0."


def _words(metric: str) -> str:
    return {"r5": "five", "r10": "ten"}[metric.rsplit("_", 1)[1]]
