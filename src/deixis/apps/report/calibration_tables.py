"""What a `result.json` says of how far the chances of search results can be believed, arranged for reading."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from deixis.apps.common.formatting import count, points, span
from deixis.apps.report.charts import Reliability, reliability
from deixis.apps.search.calibration import in_words

__all__ = ["CalibrationSection", "relevance"]


class CalibrationSection(NamedTuple):
    """The section on chances.

    Attributes:
        sentence: what the diagram says.
        nothing: when "nothing here matches" is said, and how often it is wrong.
        basis: what was measured on.
        plot: the reliability diagram.
        rows: of the table, as (name, figure).
    """

    sentence: str
    nothing: str
    basis: str
    plot: Reliability
    rows: list[tuple[str, str]]


def relevance(result: Mapping[str, Any], unseen: str) -> CalibrationSection | None:
    """The part `relevance` of a result; None where it was not measured.

    Args:
        result: the result.
        unseen: what a test holds that training did not, `concepts` or `pictures`.
    """
    part = result.get("relevance")
    if not isinstance(part, Mapping) or not part.get("points"):
        return None
    last = part["points"][-1]
    sentence = (
        f"For the results with the best scores the prediction was that {in_words(last['told'])} are right; of 100 "
        f"such, {_of_hundred({**last, 'value': last['came']})} were. Predictions are {points(part['ece'])} points off "
        "on average."
    )
    basis = (
        f"Measured on {count(part['queries'])} searches by words for {count(part['concepts'])} "
        f"{'concepts' if unseen == 'concepts' else 'classes'}, on {unseen} that the model was not trained on, the "
        "first ten results of each. Right is a picture with the caption, or of the group, that was searched for; "
        "others may be as good, so that chances are rather too low."
    )
    if unseen != "concepts":
        basis = basis.replace("with the caption, or of the group,", "of the class")
    return CalibrationSection(sentence, _nothing(part), basis, reliability(part["points"]), _rows(part))


def _nothing(part: Mapping[str, Any]) -> str:
    tried = part["tried"]
    false, misses = (_of_hundred(tried[name]) for name in ("false_answers", "misses"))
    if part["says_nothing_matches"]:
        return (
            "If the best score is too low, a search reports that nothing here matches. Of 100 searches for absent "
            f"concepts, {false} return results nevertheless; of 100 for present ones, {misses} report that nothing "
            "matches."
        )
    return (
        "A search never reports that nothing here matches, since this model can hardly detect it. The best threshold "
        f"would still return results for {false} of 100 searches for absent concepts, and report that nothing matches "
        f"for {misses} of 100 searches for present ones."
    )


def _of_hundred(entry: Mapping[str, float]) -> str:
    limits = f" ({span(entry['low'], entry['high'])})" if entry["low"] < entry["high"] else ""
    return f"{points(entry['value'], 0)}{limits}"


def _rows(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    curve = part["curve"]
    return [
        ("results that are right, of 100", points(part["matched"])),
        ("Brier score (0 is best)", f"{part['brier']:.4f}"),
        ("Brier score of always predicting the mean", f"{part['brier_of_the_mean']:.4f}"),
        ("expected calibration error, in points", points(part["ece"])),
        ("curve", f"{curve} (log loss {', '.join(f'{name} {loss:.4f}' for name, loss in part['log_loss'].items())})"),
        ("results although absent, of 100", _of_hundred(part["false_answers"])),
        ("no result although present, of 100", _of_hundred(part["misses"])),
        ("area under the ROC curve, present against absent", f"{part['tried']['auc']:.3f}"),
    ]
