"""The report of the saliency protocol on one model: measures by method and layer, and the maps for the eye."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from deixis.apps.common.console import Reporter
from deixis.apps.eval.chart import Chart, ChartPoint, Series
from deixis.apps.eval.comparison import write_page
from deixis.apps.explain.overlays import Panel, sheet, tinted
from deixis.engine.evaluation.saliency import SaliencyQueries
from deixis.engine.evaluation.saliency_checks import SaliencyEntry, SaliencyResult, SaliencyRow, agreement
from deixis.nn.dual import DualEncoder
from deixis.ops.maps import to_unit

__all__ = ["write"]

_SHOWN = 4
"""Questions that the sheet of maps shows."""

_COLUMNS = {
    "pointing": "pointing",
    "difficult": "difficult",
    "exact": "exact",
    "energy": "energy",
    "overlap": "overlap",
    "named": "named",
    "insertion": "insertion",
    "deletion": "deletion (low)",
    "class_sensitivity": "two things (low)",
    "random_label": "absent noun (low)",
}
"""Measure -> what stands above its column; `low` where that is good."""


_TOLD = ("pointing", "overlap", "named", "insertion", "deletion", "class_sensitivity")


def write(found: SaliencyResult, folder: Path, talk: Reporter) -> Mapping[str, Any]:
    """Writes `table.txt`, `table.html`, `plot.png` (pointing by method), `plot-maps.png` and `rows.jsonl`, prints the
    table, and returns every measure with its interval, for `result.json`.

    Args:
        found: the results.
        folder: where the files go.
        talk: prints.
    """
    order = {name: agreement(found.rows, name) for name in _COLUMNS}
    _write(found, order, folder, talk)
    _sheet(found.entries, found.queries, found.encoder).save(folder / "plot-maps.png")
    return {
        "data": found.data,
        "pictures": len(found.queries.images),
        "questions": len(found.queries.picture),
        "rows": [_plain(row) for row in found.rows],
        "agreement": {name: None if math.isnan(value) else value for name, value in order.items()},
    }


def _plain(row: SaliencyRow) -> dict[str, Any]:
    """A row as numbers; what is none is null."""
    found = {field.name: getattr(row, field.name) for field in dataclasses.fields(row) if field.name != "values"}
    found["metrics"] = {name: interval._asdict() for name, interval in row.metrics.items()}
    found["cascade"] = {name: None if math.isnan(value) else value for name, value in row.cascade.items()}
    found["halves"] = {
        name: [None if math.isnan(value) else value for value in pair] for name, pair in row.halves.items()
    }
    return found


def _write(found: SaliencyResult, order: Mapping[str, float], folder: Path, talk: Reporter) -> None:
    title = f"{found.encoder.name} on {found.data}: are saliency maps correct?"
    head, cells = ["method", "layer", *_COLUMNS.values()], [_cells(row) for row in found.rows]
    checked = [row for row in found.rows if row.cascade]
    blocks = list(checked[0].cascade) if checked else []
    after = [[row.method, row.layer, *(f"{row.cascade[name]:+.2f}" for name in blocks)] for row in checked]
    notes = _notes(found.queries, order)
    talk.table(title, ["method", "layer", *(_COLUMNS[name] for name in _TOLD)], [_told(row) for row in found.rows])
    talk.say("Brackets, and what became of the maps with random weights: table.html.")
    chart = _chart(found.rows, title)
    chart.save(folder / "plot.png")
    tables = [("measures", head, cells), ("weights made random, from the output to...", head[:2] + blocks, after)]
    recipe = {
        "model": found.encoder.name,
        "weights": found.encoder.fingerprint(),
        "data": found.data,
        "pictures": len(found.queries.images),
    }
    write_page(folder, title, chart.svg(), tables, notes, recipe)
    lines = [title, *("\t".join(each) for each in (head, *cells)), *notes]
    (folder / "table.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    text = "".join(json.dumps(_plain(row)) + "\n" for row in found.rows)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")


def _cells(row: SaliencyRow) -> list[str]:
    return [row.method, row.layer, *(_cell(row, name) for name in _COLUMNS)]


def _told(row: SaliencyRow) -> list[str]:
    """What fits into a terminal."""
    values = [f"{row.metrics[name].value:.2f}" if name in row.metrics else "" for name in _TOLD]
    return [row.method, _short(row.layer), *values]


def _short(layer: str) -> str:
    """A layer's name without what all have."""
    return " x ".join(".".join(name.split(".")[-2:]) for name in layer.split(" x "))


def _cell(row: SaliencyRow, name: str) -> str:
    if name not in row.metrics:
        return ""
    value, low, high = row.metrics[name]
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _notes(queries: SaliencyQueries, order: Mapping[str, float]) -> list[str]:
    agreed = ", ".join(f"{_COLUMNS[name]} {value:.2f}" for name, value in order.items() if not math.isnan(value))
    return [
        "Brackets: 95 % interval over pictures. Insertion, deletion, absent nouns and random weights: on the first few "
        "pictures.",
        f"{int(queries.others.sum())} of {len(queries.others)} objects have another beside them; difficult: these, if "
        "the object takes less than a quarter of the picture.",
        "Pointing: within 15 pixels of 224; exact: on the object itself. Energy: share of the map inside the mask. "
        "Overlap: of the mask and as many of the highest pixels. Insertion and deletion: mean probability of the noun "
        "among all nouns, into and out of a strong blur.",
        "Two things: rank correlation of the maps for two things of one picture. Absent noun: that of a map with the "
        "map for a noun that the picture does not show (the text is the label that is exchanged; nothing is trained).",
        f"Rank correlation of the order of rows between both halves of the pictures: {agreed}.",
    ]


def _chart(rows: Sequence[SaliencyRow], title: str) -> Chart:
    layers = list(dict.fromkeys(row.layer or "none" for row in rows))
    places = {layer: (number + 0.5) / len(layers) for number, layer in enumerate(layers)}
    series = []
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        points = [ChartPoint(places[row.layer or "none"], *row.metrics["pointing"]) for row in mine]
        series.append(Series(method[:22], points))
    ticks = [(place, _short(layer)[:20]) for layer, place in places.items()]
    return Chart(f"{title} Pointing game", "layer of the map", ticks, series, joined=False)


def _sheet(todo: Sequence[SaliencyEntry], queries: SaliencyQueries, encoder: DualEncoder) -> Image.Image:
    """The first questions, one a line, with the maps of each row."""
    few = queries.part(min(_SHOWN, len(queries.images)))
    wanted = [entry for entry in todo if entry.learned]
    maps = {(entry.method, entry.layer): to_unit(entry.maps(few, None)) for entry in wanted}
    rows = []
    for number in range(min(_SHOWN, len(few.picture))):
        picture, noun = _picture(few.images[few.picture[number]]), few.nouns[int(few.noun[number])]
        panels = [Panel(picture, f"query: {noun}")]
        panels += [Panel(tinted(picture, found[number]), " ".join(key)) for key, found in maps.items()]
        rows.append(panels)
    return sheet(rows)


def _picture(image: torch.Tensor) -> Image.Image:
    """What the model sees, its values stretched to what can be shown."""
    unit = (image - image.min()) / (image.max() - image.min()).clamp(min=1e-6)
    return Image.fromarray((unit * 255).round().byte().permute(1, 2, 0).cpu().numpy())
