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
        f"Of the results with the best scores it was told that {in_words(last['told'])} are right; of 100 such, "
        f"{_of_hundred({**last, 'value': last['came']})} were. What is told is {points(part['ece'])} points off on "
        "average."
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
            "Where the best result is too poor, a search is told that nothing here matches. Of 100 searches for what "
            f"is not there, {false} are answered all the same; of 100 for what is there, {misses} are told that "
            "nothing matches."
        )
    return (
        "It is never said that nothing here matches: this model can hardly tell. The best threshold that was tried "
        f"would still answer {false} of 100 searches for what is not there, and tell {misses} of 100 for what is there "
        "that nothing matches."
    )


def _of_hundred(entry: Mapping[str, float]) -> str:
    limits = f" ({span(entry['low'], entry['high'])})" if entry["low"] < entry["high"] else ""
    return f"{points(entry['value'], 0)}{limits}"


def _rows(part: Mapping[str, Any]) -> list[tuple[str, str]]:
    curve = part["curve"]
    return [
        ("results that are right, of 100", points(part["matched"])),
        ("Brier score (0 is best)", f"{part['brier']:.4f}"),
        ("Brier score of telling the mean every time", f"{part['brier_of_the_mean']:.4f}"),
        ("expected calibration error, in points", points(part["ece"])),
        ("curve", f"{curve} (log loss {', '.join(f'{name} {loss:.4f}' for name, loss in part['log_loss'].items())})"),
        ("answered though not there, of 100", _of_hundred(part["false_answers"])),
        ("told nothing though there, of 100", _of_hundred(part["misses"])),
        ("area under the ROC curve, there against not there", f"{part['tried']['auc']:.3f}"),
    ]
