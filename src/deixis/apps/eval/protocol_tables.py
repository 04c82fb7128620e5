"""The report of a few-shot protocol on one model: averages with intervals, tables as text and HTML, plot and rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from deixis.apps.common.console import Reporter
from deixis.apps.eval.chart import Chart, ChartPoint, Series
from deixis.apps.eval.comparison import plain_table, write_page
from deixis.engine.fewshot.evaluation import ProtocolResult
from deixis.engine.fewshot.means import Spread, harmonic_means
from deixis.files import write_json
from deixis.ops.stats import cluster_bootstrap

__all__ = ["write"]

_TITLES = {
    "few-shot": "share of right answers, by images a class",
    "base-to-new": "accuracy on the classes that were trained on and on new ones",
    "cross-style": "share of right answers, by style",
}
_OF_MEANS, _MEAN_OF = "H of the averages", "average of H"
_H = {
    _OF_MEANS: "the harmonic mean of the two average accuracies (as in CoCoOp's tables)",
    _MEAN_OF: "the average over draws of each draw's harmonic mean (as PRE's table)",
}


def write(found: ProtocolResult, folder: Path, talk: Reporter) -> Mapping[str, Any]:
    """Writes `table.txt`, `table.html`, `plot.png`, `rows.jsonl`, `recipe.json` and `shots.json` (parts and draws),
    prints the table, and returns what `result.json` says.

    Args:
        found: the results.
        folder: where the files go.
        talk: prints.
    """
    head, rows = _table(found)
    against_head, against = _against(found)
    title = f"{found.name}: {_TITLES[found.plan.protocol]}"
    chart = _chart(found, title)
    chart.save(folder / "plot.png")
    notes = [*_notes(found), *found.plan.notes]
    tables = [(title, head, rows), (f"difference to {found.methods[0]}", against_head, against)]
    text = "\n\n".join(plain_table(*each) for each in tables if each[2])
    (folder / "table.txt").write_text(text + "\n\n" + "\n".join(notes) + "\n", encoding="utf-8", errors="replace")
    write_page(folder, title, chart.svg(), tables, notes, found.recipe.to_dict())
    write_json(folder / "recipe.json", found.recipe.to_dict())
    write_json(folder / "shots.json", found.plan.lists(found.data))
    lines = "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in found.rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    for each in tables:
        if each[2]:
            talk.table(*each)
    return {
        "data": {"name": found.name, "fingerprint": found.recipe.data_fingerprint, "images": len(found.data.ids)},
        "recipe": found.recipe.hash,
        "classes": len(found.plan.classes),
        "shots": list(found.recipe.shots),
        "seeds": list(found.recipe.seeds),
        "accuracy": _accuracy(found),
        **({"harmonic": _harmonic(found)} if found.plan.protocol == "base-to-new" else {}),
        "difference": {row["method"]: row for row in _differences(found)},
        "notes": notes,
    }


def _accuracy(found: ProtocolResult) -> dict[str, Any]:
    """Method -> K -> question -> value and interval."""
    return {
        method: {
            str(k): {test.name: found.spread(method, k, test.name)._asdict() for test in found.plan.tests}
            for k in found.recipe.shots
        }
        for method in found.methods
    }


def _harmonic(found: ProtocolResult) -> dict[str, dict[str, float]]:
    k = found.recipe.shots[-1]
    means = {m: harmonic_means(found.values(m, k, "base"), found.values(m, k, "new")) for m in found.methods}
    return {method: dict(zip((_OF_MEANS, _MEAN_OF), each, strict=True)) for method, each in means.items()}


def _table(found: ProtocolResult) -> tuple[list[str], list[list[str]]]:
    head = ["method", *(heading for heading, _, _ in found.columns)]
    rows = [[m, *(_cell(found.spread(m, k, test)) for _, k, test in found.columns)] for m in found.methods]
    if found.plan.protocol == "base-to-new":
        head += list(_H)
        means = _harmonic(found)
        rows = [[*row, *(f"{100 * value:.1f}" for value in means[row[0]].values())] for row in rows]
    seconds = {m: mean(row.seconds for row in found.rows if row.method == m) for m in found.methods}
    return [*head, "seconds"], [[*row, f"{seconds[row[0]]:.1f}"] for row in rows]


def _cell(value: Spread) -> str:
    if value.low is None or value.high is None:
        return f"{100 * value.value:.1f}"
    return f"{100 * value.value:.1f} [{100 * value.low:.1f}, {100 * value.high:.1f}]"


def _differences(found: ProtocolResult) -> list[dict[str, Any]]:
    """Of each method to the first: with the most images a class, on each question, over the test pictures."""
    first, *others = found.methods
    k, said = found.recipe.shots[-1], []
    for method in others:
        row: dict[str, Any] = {"method": method}
        for test in found.plan.tests:
            values = found.right[method, k, test.name] - found.right[first, k, test.name]
            clusters = np.array([found.data.groups[i] for i in test.images])
            if len(set(clusters.tolist())) > 1:
                row[test.name] = cluster_bootstrap(values, clusters)._asdict()
        said.append(row)
    return said


def _against(found: ProtocolResult) -> tuple[list[str], list[list[str]]]:
    names, k = [test.name for test in found.plan.tests], found.recipe.shots[-1]
    head = ["method", *(f"{name}, {k} a class" for name in names)]
    rows = [[each["method"], *(_change(each.get(name)) for name in names)] for each in _differences(found)]
    return head, rows


def _change(value: Mapping[str, float] | None) -> str:
    if value is None:
        return ""
    return f"{100 * value['value']:+.1f} [{100 * value['low']:+.1f}, {100 * value['high']:+.1f}]"


def _notes(found: ProtocolResult) -> list[str]:
    draws, tests = len(found.recipe.seeds), found.plan.tests
    images = ", ".join(f"{len(test.images)} of {len(test.names)} classes ({test.name})" for test in tests)
    notes = [
        f"In per cent. {draws} draw{'s' * (draws != 1)} of {', '.join(map(str, found.recipe.shots))} images per class, "
        f"tested on the same pictures: {images}.",
        "Brackets and error bars: 95 % t interval over draws; it does not include the variation over test pictures. "
        "Differences: 95 % interval over the test pictures, duplicates and one concept together."
        if draws > 1
        else "One draw: no error bars. Differences: 95 % interval over the test pictures.",
    ]
    if found.plan.protocol == "base-to-new":
        notes.append("Each half is classified separately. " + "; ".join(f"{name}: {text}" for name, text in _H.items()))
    return [*notes, f"Recipe {found.recipe.hash}: recipe.json; parts and draws: shots.json; every number: rows.jsonl."]


def _chart(found: ProtocolResult, title: str) -> Chart:
    columns = found.columns
    few, count = found.plan.protocol == "few-shot", len(columns)
    # Images a class mostly double from one to the next: equal distances are a logarithmic axis.
    places = [0.03 + 0.94 * i / (count - 1) if few and count > 1 else (i + 0.5) / count for i in range(count)]
    series = []
    for method in found.methods:
        spreads = [found.spread(method, k, test) for _, k, test in columns]
        series.append(Series(method, [ChartPoint(x, *each) for x, each in zip(places, spreads, strict=True)]))
    ticks = [(x, heading[:24]) for x, (heading, _, _) in zip(places, columns, strict=True)]
    axis = "images a class" if few else f"tested on, {found.recipe.shots[-1]} training images per class"
    return Chart(title, axis, ticks, series, joined=few)
