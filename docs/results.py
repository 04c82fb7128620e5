"""The page of results of `deixis eval`, from the rows in `results/protocols.jsonl`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deixis.ops.stats import t_interval
from docs.tables import Row, Table

__all__ = ["results_page"]

_MEASURES = {
    "pointing": "pointing",
    "exact": "exact",
    "energy": "energy",
    "overlap": "overlap",
    "named": "named",
    "insertion": "insertion",
    "deletion": "deletion (low)",
    "class_sensitivity": "two things (low)",
}


def results_page(rows: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown, a section for each protocol and data.

    Args:
        rows: of `results/protocols.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    parts = ["# Results of the evaluation protocols", made]
    for protocol, data in dict.fromkeys((row["protocol"], row["data"]) for row in rows):
        some = [row for row in rows if (row["protocol"], row["data"]) == (protocol, data)]
        last = max(some, key=lambda row: str(row["date"]))
        some = [row for row in some if row["commit"] == last["commit"]]
        models = list(dict.fromkeys(row["model"] for row in some))
        about = f"Model{'s' * (len(models) > 1)} {', '.join(models)}, commit {last['commit']}, {last['date'][:10]}."
        parts += [f"## {protocol}, `{data}`", about, *_section(some)(some, table)]
    return "\n\n".join(parts) + "\n"


def _section(rows: Sequence[Row]) -> Callable[[Sequence[Row], Table], list[str]]:
    """What makes the table of rows: by the fields that they have."""
    if all("metrics" in row for row in rows):
        return _maps
    return _models if all("metric" in row for row in rows) else _shots


def _models(rows: Sequence[Row], table: Table) -> list[str]:
    """Metrics by model."""
    said = "In per cent, with 95 % bootstrap intervals over concepts."
    models = list(dict.fromkeys(row["model"] for row in rows))
    places = dict.fromkeys((row.get("arm", ""), row["metric"], row.get("condition", "")) for row in rows)
    found = {(row["model"], row.get("arm", ""), row["metric"], row.get("condition", "")): row for row in rows}
    cells = [
        [", ".join(filter(None, place)), *(_percent(found.get((model, *place))) for model in models)]
        for place in places
    ]
    return [said, table(("", *models), cells), *(note for row in rows for note in row.get("notes", ()))]


def _percent(row: Row | None) -> str:
    if row is None:
        return ""
    factor, digits, unit = (1, 2, " s") if row["metric"] == "seconds" else (100, 1, "")
    ends = [f"{factor * row[end]:.{digits}f}" for end in ("low", "high") if row[end] is not None]
    return f"{factor * row['value']:.{digits}f}{unit}" + (f" [{', '.join(ends)}]" if ends else "")


def _shots(rows: Sequence[Row], table: Table) -> list[str]:
    """Accuracy by images per class; for a single number of images, by test set."""
    said = "Accuracy in per cent, with a 95 % t interval over draws of the training images."
    columns = list(dict.fromkeys((row["asked"], row["shots"]) for row in rows))
    cells = []
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        values = [[row["accuracy"] for row in own if (row["asked"], row["shots"]) == column] for column in columns]
        cells.append([method, *map(_interval, values)])
    return [said, table(("method", *(f"{asked}, {shots} per class" for asked, shots in columns)), cells)]


def _interval(values: Sequence[float]) -> str:
    if len(values) < 2:
        return " ".join(f"{100 * value:.1f}" for value in values)
    value, low, high = t_interval(values)
    return f"{100 * value:.1f} [{100 * max(low, 0):.1f}, {100 * min(high, 1):.1f}]"


def _maps(rows: Sequence[Row], table: Table) -> list[str]:
    """Measures of maps by method and layer."""
    said = "Means over queries, with 95 % intervals over pictures; columns as in [saliency.md](saliency.md)."
    cells = [
        [row["method"], row["layer"], *(_measured(row["metrics"].get(name)) for name in _MEASURES)] for row in rows
    ]
    return [said, table(("method", "layer", *_MEASURES.values()), cells)]


def _measured(value: Any) -> str:
    if value is None:
        return ""
    mean, low, high = value.values() if isinstance(value, Mapping) else value
    return "" if mean is None else f"{mean:.2f} [{low:.2f}, {high:.2f}]"
