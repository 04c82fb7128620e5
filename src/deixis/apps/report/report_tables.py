"""What a `result.json` says, arranged for reading: each function turns one part of it into rows and sentences.

Optional parts that a result lacks come out as None or as empty, and a page leaves them out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from deixis.apps.common.formatting import (
    METRICS,
    Metric,
    control_meaning,
    duration,
    flat,
    memory,
    metric,
    plain,
    points,
    signed,
    spaced,
    span,
)
from deixis.apps.report.charts import Estimate, IntervalPlot, estimate, interval_plot

__all__ = [
    "Comparison",
    "MetricRow",
    "Reason",
    "TableCell",
    "TableEntry",
    "chosen",
    "comparison",
    "data_rows",
    "headline",
    "intervals",
    "main_table",
    "per_split",
    "primary",
    "searches",
    "seeds",
    "settings",
    "skipped",
    "texts",
    "unseen",
]

_WORDS = {"better": "better", "worse": "worse", "unclear": "not proven", "same": "no change"}
_SUMMARY = ("mean_r1", "mean_r10", "mean_mrr", "accuracy")
_PATHS_SHOWN, _MANY = 20, 12


class TableCell(NamedTuple):
    """A figure in a table with its interval beneath; `word` says what the interval proves."""

    text: str
    span: str
    tone: str
    word: str


class MetricRow(NamedTuple):
    """One measure of the main table."""

    metric: Metric
    primary: bool
    before: TableCell | None
    after: TableCell | None
    difference: TableCell | None


class TableEntry(NamedTuple):
    """One row of a comparison: a slice, a control or an outside set."""

    name: str
    note: str
    cells: list[TableCell | None]


class Comparison(NamedTuple):
    """Differences to the original of several things side by side."""

    columns: list[str]
    scope: str
    entries: list[TableEntry]
    plot: IntervalPlot | None
    plotted: str


class Reason(NamedTuple):
    """What was skipped for one reason: how many, and the first few."""

    reason: str
    total: int
    shown: list[tuple[str, str]]
    rest: int


def primary(result: Mapping[str, Any]) -> str:
    """The key of the one measure that decides: what the result names, else `mean_mrr`, or `accuracy` for labels."""
    wanted = result.get("primary") or ("accuracy" if _labelled(result) else "mean_mrr")
    return wanted if wanted in result["difference"] else next(iter(result["difference"]), wanted)


def searches(result: Mapping[str, Any]) -> str:
    """The key of the measure that can be drawn as 100 searches: the one of the sentence where the result names it
    (`told`), else the usual one; empty where there is none."""
    wanted: tuple[str, ...] = (str(result.get("told")), "text_to_image_r10", "mean_r10", "accuracy")
    return next((key for key in wanted if key in result["difference"]), "")


def unseen(result: Mapping[str, Any]) -> str:
    """What a test holds that training did not: `concepts`, or `pictures` for labels (all classes train)."""
    return "pictures" if _labelled(result) else "concepts"


def _labelled(result: Mapping[str, Any]) -> bool:
    return bool(result["data"].get("kind") == "labels")


def headline(result: Mapping[str, Any]) -> str:
    """The key of the measure that slices are compared by: `mean_r10` where it is there, else the primary."""
    return "mean_r10" if "mean_r10" in result["difference"] else primary(result)


def chosen(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What was chosen for each division."""
    return (result.get("method") or {}).get("chosen") or []


def _level(entry: Any) -> TableCell | None:
    item = estimate(entry)
    if item is None:
        return None
    limits = span(item.low, item.high) if item.low is not None and item.high is not None else ""
    return TableCell(points(item.value), limits, "", "")


def _change(entry: Any) -> TableCell | None:
    return _cell(estimate(entry))


def _cell(item: Estimate | None) -> TableCell | None:
    if item is None:
        return None
    return TableCell(signed(item.value), item.span, item.tone, _WORDS[item.tone] if item.low is not None else "")


def _ordered(keys: Iterable[str]) -> list[str]:
    order = {key: place for place, key in enumerate(METRICS)}
    return sorted(keys, key=lambda key: order.get(key, len(order)))


def main_table(result: Mapping[str, Any]) -> tuple[list[tuple[str, list[MetricRow]]], IntervalPlot | None]:
    """The measures by heading, before, after and difference; and the plot of the differences."""
    groups: dict[str, list[MetricRow]] = defaultdict(list)
    rows = []
    for key in _ordered(result["difference"]):
        name, change = metric(key), estimate(result["difference"][key])
        before, after = (_level((result.get(side) or {}).get(key)) for side in ("before", "after"))
        groups[name.group].append(MetricRow(name, key == primary(result), before, after, _cell(change)))
        rows += [(name.full, change)] if change else []
    return list(groups.items()), interval_plot(rows)


def comparison(
    result: Mapping[str, Any], part: str, *, adapted_first: str = "", notes: bool = False
) -> Comparison | None:
    """Differences to the original for the entries of one part of the result (`slices`, `controls`, `forgotten`).

    Args:
        result: the result.
        part: the key whose entries are compared; None comes back where it is missing, empty or a remark.
        adapted_first: names a first row for the adapted model's own difference; none where empty.
        notes: says beside each entry what it proves.
    """
    entries = result.get(part)
    if not isinstance(entries, Mapping) or not entries:
        return None
    table = ({adapted_first: result["difference"]} if adapted_first else {}) | dict(entries)
    present = {key for values in table.values() for key in values}
    keys = [key for key in _SUMMARY if key in present] or _ordered(present)[:4]
    plotted = headline(result) if headline(result) in keys else keys[0]
    rows = [
        TableEntry(
            spaced(name),
            control_meaning(name) if notes and name != adapted_first else "",
            [_change(values.get(key)) for key in keys],
        )
        for name, values in table.items()
    ]
    dots = [(spaced(name), item) for name, values in table.items() if (item := estimate(values.get(plotted)))]
    scope = "Mean of both directions, in points" if all(key.startswith("mean_") for key in keys) else "In points"
    return Comparison([metric(key).short for key in keys], scope, rows, interval_plot(dots), metric(plotted).full)


def per_split(result: Mapping[str, Any]) -> list[list[str]]:
    """One row a split: its name, the primary measure before, after and difference, the headline's difference, and what
    was chosen for it (steps, strength, validation before and after)."""
    key, second = primary(result), headline(result)
    picks = {pick.get("split"): pick for pick in chosen(result)}
    return [
        [
            plain(row.get("split")),
            *(_bare(row.get(side), key, points) for side in ("before", "after")),
            _bare(row.get("difference"), key, signed),
            _bare(row.get("difference"), second, signed),
            *_pick(picks.get(row.get("split"), {})),
        ]
        for row in result.get("per_split") or []
    ]


def _bare(values: Mapping[str, Any] | None, key: str, form: Any) -> str:
    item = estimate((values or {}).get(key))
    return form(item.value) if item else plain(None)


def _pick(pick: Mapping[str, Any]) -> list[str]:
    validation = pick.get("validation") or {}
    both = [points(validation[side]) for side in ("before", "after") if validation.get(side) is not None]
    return [plain(pick.get("steps")), plain(pick.get("strength")), " \u2192 ".join(both) or plain(None)]


def intervals(result: Mapping[str, Any]) -> list[tuple[str, TableCell | None, TableCell | None]]:
    """Measure, bootstrap interval, corrected t interval; the summary measures only. Empty without t intervals."""
    strict = result.get("t_interval") or {}
    keys = [key for key in _SUMMARY if key in strict and key in result["difference"]]
    return [(metric(key).full, _change(result["difference"][key]), _change(strict[key])) for key in keys]


def seeds(result: Mapping[str, Any]) -> str:
    """The spread over training seeds, as a sentence; empty where it was not measured."""
    spread = result.get("training_seeds") or {}
    values = spread.get("values") or []
    if not values:
        return ""
    listed = ", ".join(points(value) for value in values)
    place = f" on split {spread['split']}" if spread.get("split") is not None else ""
    name = metric(spread.get("metric", primary(result))).full
    end = f"; their standard deviation is {points(spread['sd'])} points" if spread.get("sd") is not None else ""
    return f"Trained{place} from {len(values)} seeds, {name} came to {listed}{end}."


def skipped(result: Mapping[str, Any]) -> list[Reason]:
    """What was skipped, the commonest reason first."""
    items = result["data"].get("skipped") or []
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for item in items:
        found[str(item.get("reason", "not said"))].append((str(item.get("path", "")), str(item.get("detail") or "")))
    totals = Counter({reason: len(paths) for reason, paths in found.items()})
    return [
        Reason(reason, total, found[reason][:_PATHS_SHOWN], max(0, total - _PATHS_SHOWN))
        for reason, total in totals.most_common()
    ]


def data_rows(result: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The data check as rows: what, how many, an example.

    The check may be a list of such rows, or a mapping from what to (how many, example) or to how many.
    """
    data = result["data"]
    names = {"images": "images", "captions": texts(result), "groups": "concept groups"}
    own = [(name, plain(data[key]), "") for key, name in names.items() if data.get(key) is not None]
    check = data.get("check") or {}
    rows = _flat(check) if isinstance(check, Mapping) else [_row(*row) for row in check]
    listed = {name for name, _, _ in rows}
    return [row for row in own if row[0] not in listed] + rows


def texts(result: Mapping[str, Any]) -> str:
    """What the number of texts counts: `classes` or `distinct captions`."""
    return "classes" if _labelled(result) else "distinct captions"


def _row(name: Any, value: Any, example: Any = "") -> tuple[str, str, str]:
    return spaced(str(name)), plain(value), str(example or "")


def _flat(table: Mapping[str, Any], before: str = "") -> list[tuple[str, str, str]]:
    rows: list[tuple[str, str, str]] = []
    for key, value in table.items():
        name = f"{before}{spaced(str(key))}"
        if isinstance(value, Mapping) and len(value) <= _MANY:
            rows += _flat(value, f"{name}: ")
        elif isinstance(value, list | tuple) and len(value) == 2 and isinstance(value[1], str):
            rows.append(_row(name, *value))
        else:
            rows.append(_row(name, _brief(value)))
    return rows


def _brief(value: Any) -> Any:
    """The value, or the length of what is too long to be written out."""
    return len(value) if isinstance(value, list | tuple | Mapping) and len(value) > _MANY else value


def settings(result: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """Tables of settings, cost, versions and fingerprints, each with its title; empty ones are left out."""
    model, method, cost = (result.get(part) or {} for part in ("model", "method", "seconds"))
    spent = [("in all", cost.get("total")), ("processor time", cost.get("cpu")), *(cost.get("stages") or {}).items()]
    size = [("memory at its peak", memory(result["peak_mb"]))] if result.get("peak_mb") is not None else []
    prints = [("data", result["data"].get("fingerprint")), ("model", model.get("fingerprint"))]
    tables = {
        "Model": _pairs({key: value for key, value in model.items() if key != "fingerprint"}),
        "Method": [("name", str(method.get("name", ""))), *_pairs(flat(method.get("config") or {}))],
        "Split": _pairs((result.get("split") or {}) | {"seed": result.get("seed")}),
        "Time and memory": [(spaced(name), duration(value)) for name, value in spent if value is not None] + size,
        "Versions": [(name, str(value)) for name, value in (result.get("versions") or {}).items()],
        "Fingerprints": [(name, str(value)) for name, value in prints if value],
    }
    return [(title, rows) for title, rows in tables.items() if any(value for _, value in rows)]


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (spaced(str(key)), plain(_brief(value))) for key, value in values.items() if value is not None and value != ""
    ]
