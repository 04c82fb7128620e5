"""The result in words: what a person reads first."""

from __future__ import annotations

from collections.abc import Mapping

from deixis.apps.common.formatting import points, signed

__all__ = ["METRIC_NAMES", "in_points", "sentence"]

METRIC_NAMES = {
    **{
        f"{side}_{metric}": f"{words}, {name}"
        for side, words in (("image_to_text", "image to text"), ("text_to_image", "text to image"), ("mean", "mean"))
        for metric, name in (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"), ("mrr", "MRR"))
    },
    "accuracy": "accuracy",
    "mrr": "MRR of the class",
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
    """What adapting bought, in numbers of searches.

    Args:
        result: `before`, `after`, `difference` (metric -> value, low, high) and `kept`, as in `result.json`.
        metric: the one that is reported, such as `text_to_image_r10`.
        primary: the one that decides whether a gain is proven.
    """
    before, after, low, high = _counts(result, metric)
    held_out = "pictures" if metric == "accuracy" else "concepts"
    if metric == "accuracy":
        said = f"of 100 pictures, {before} were given the right class before and {after} after"
    else:
        place = "came first" if metric.endswith("r1") else f"was among the first {_words(metric)}"
        said = f"of 100 searches by words, the right picture {place} in {before} before and {after} after"
    said += f" (difference between {low} and {high})"
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
