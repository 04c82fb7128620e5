"""What the comparison of encoders says, for a person: a sentence, a table, and the result in a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deixis.apps.train.encoder_comparison import SCOPES
from deixis.types.html import html_lines, html_table

__all__ = ["TrainResult", "encoder_sentence", "encoder_table"]

_COLUMNS = {
    ("copies", "trained_on"): "copies, trained on",
    ("copies", "held_back"): "copies, others",
    ("labels", "trained_on"): "labels, trained on",
    ("labels", "held_back"): "labels, others",
}
_USES = {
    "copies": ("duplicates", "duplicates here", "duplicates among other images"),
    "labels": ("labels", "labels here", "labels of other images"),
}


class TrainResult(dict[str, Any]):
    """What stands in the `result.json` of a run; a notebook shows what the comparison of encoders says."""

    def _repr_html_(self) -> str:
        lines = html_lines(str(self.get("sentence", "")) or f"{self.get('method')}: {self.get('steps')} steps")
        return lines + (html_table(*encoder_table(self["encoders"])) if "encoders" in self else "")


def encoder_table(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows: of 100, with the difference to the encoder at the start and its interval.

    Args:
        found: the part `encoders` of a result.
    """
    columns = {key: title for key, title in _COLUMNS.items() if key[0] in found}
    rows = []
    for name in found["names"]:
        role = {found["before"]: "before: ", found["after"]: "after: "}.get(name, "")
        cells = [_cell(found[purpose][scope], name, found["start"]) for purpose, scope in columns]
        rows.append([f"{role}{name}", *cells])
    return ["of 100", *columns.values()], rows


def _cell(scope: Mapping[str, Any], name: str, start: str) -> str:
    each = scope["encoders"][name]
    chosen = " *" if scope["use"] == name else ""
    change = each["difference"]
    if name == start or change["low"] is None:
        return f"{100 * each['value']:.0f}{chosen}"
    return f"{100 * each['value']:.0f} ({_signed(change['low'])} to {_signed(change['high'])}){chosen}"


def _signed(value: float) -> str:
    return f"{round(100 * value):+d}"


def encoder_sentence(found: Mapping[str, Any]) -> str:
    """What the trained encoder is better at, and which encoder to use for what.

    Args:
        found: the part `encoders` of a result.
    """
    start, after = found["start"], found["after"]
    trained, held = (found["copies"][scope]["encoders"] for scope in SCOPES)
    change = trained[after]["difference"]
    between = "" if change["low"] is None else f", between {_signed(change['low'])} and {_signed(change['high'])}"
    copies = (
        f"Of 100 altered copies {_of(trained, after)} find their original ({start} {_of(trained, start)}{between}) "
        f"among images it trained on, {_of(held, after)} ({_of(held, start)}) among others"
    )
    labels = f"; labels are predicted {_change(found['labels'], start, after)}" if "labels" in found else ""
    return f"{copies}{labels}. {_advice(found)}"


def _of(encoders: Mapping[str, Any], name: str) -> str:
    return f"{100 * encoders[name]['value']:.0f}"


def _change(labels: Mapping[str, Any], start: str, after: str) -> str:
    """Better where the trained encoder was chosen, worse where the interval on test images lies below 0."""
    better = [scope for scope in SCOPES if labels[scope]["use"] == after]
    if better:
        parts = (labels[scope]["encoders"] for scope in better)
        return "better, " + " and ".join(f"{_of(each, after)} of 100 ({_of(each, start)})" for each in parts)
    highs = [labels[scope]["encoders"][after]["difference"]["high"] for scope in SCOPES]
    return "worse" if any(high is not None and high < 0 for high in highs) else "no better"


def _advice(found: Mapping[str, Any]) -> str:
    uses: dict[str, list[str]] = {}
    for purpose, (both, *each) in _USES.items():
        if purpose in found:
            names = [found[purpose][scope]["use"] for scope in SCOPES]
            for name, what in [(names[0], both)] if names[0] == names[1] else zip(names, each, strict=True):
                uses.setdefault(name, []).append(what)
    stays = uses.pop(found["start"], None)
    called = f"the {found['start']}" if found["start"] == "starter" else found["start"]
    if not uses:
        return f"Keep {called}: no other is proven better."
    named = {name: "it" if name == found["after"] else name for name in uses}
    advice = " and ".join(f"{named[name]} for {' and '.join(what)}" for name, what in uses.items())
    return f"Use {advice}, keep {called} elsewhere." if stays else f"Use {advice}."
