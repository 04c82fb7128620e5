"""The report of a protocol: one table for all models, differences to the first, a plot, and a row for each value."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from deixis.apps.common.console import Reporter
from deixis.apps.eval.chart import Chart, ChartPoint, Series
from deixis.engine.evaluation.output import Column, EvalOutput, MeanInterval, difference
from deixis.types import EvalProtocol

__all__ = ["SECONDS", "SHEET", "ModelComparison", "plain_table", "write_page"]

SECONDS = "seconds_per_image"
"""What an encoder takes to read and encode an image, among the facts of its output."""

SHEET = "answers.jpg"
"""A sheet of pictures with answers, right and wrong, where a protocol draws one."""


@dataclasses.dataclass(frozen=True)
class ModelComparison:
    """What a protocol measured of one model or several.

    Attributes:
        name: of the protocol.
        protocol: what its file declares.
        data: name of the data.
        recipe: what the numbers hang on.
        outputs: model -> what was measured.
    """

    name: str
    protocol: EvalProtocol
    data: str
    recipe: Mapping[str, Any]
    outputs: Mapping[str, EvalOutput]

    @property
    def title(self) -> str:
        """Of table, page and plot."""
        return f"{self.name} on {self.data}"

    def write(self, folder: Path, talk: Reporter) -> dict[str, Any]:
        """Writes `table.txt`, `table.html`, `plot.png` and `rows.jsonl`, prints the table, and returns what
        `result.json` says.

        Args:
            folder: where the files go.
            talk: prints.
        """
        head, cells = self.table()
        chart, notes, rows = self.chart(), self.notes(), self.rows()
        chart.save(folder / "plot.png")
        write_page(folder, self.title, chart.svg(), [("", head, cells)], notes, self.recipe)
        text = plain_table(self.title, head, cells)
        (folder / "table.txt").write_text("\n".join([text, "", *notes]) + "\n", encoding="utf-8", errors="replace")
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / "rows.jsonl").write_text(lines, encoding="utf-8", errors="replace")
        talk.table(self.title, head, cells)
        for note in notes:
            talk.say(note)
        facts = {model: dict(output.facts) for model, output in self.outputs.items()}
        return {
            "data": self.data,
            "recipe": dict(self.recipe),
            "rows": rows,
            "differences": self.differences(),
            "models": facts,
            "notes": notes,
        }

    def _places(self) -> list[tuple[str, Column]]:
        """Arms and columns that some model has and whose metric is declared, the main metric first."""
        order = {metric.name: number for number, metric in enumerate(self.protocol.metrics)}
        found = dict.fromkeys((arm, column) for output in self.outputs.values() for arm, column, _ in output)
        arms = list(dict.fromkeys(arm for arm, _ in found))
        retained = [each for each in found if each[1].metric in order]
        return sorted(retained, key=lambda each: (arms.index(each[0]), order[each[1].metric]))

    def _estimate(self, model: str, arm: str, column: Column) -> MeanInterval | None:
        values = self.outputs[model].arms.get(arm, {}).get(column)
        return None if values is None else values.estimate()

    def _difference(self, model: str, arm: str, column: Column) -> MeanInterval | None:
        """To the first model; None where one of both has no value."""
        pair = [self.outputs[each].arms.get(arm, {}).get(column) for each in (model, next(iter(self.outputs)))]
        return None if pair[0] is None or pair[1] is None else difference(pair[0], pair[1])

    def table(self) -> tuple[list[str], list[list[str]]]:
        """A row for each metric, a column for each model, and one for each difference to the first."""
        first, *others = self.outputs
        head = ["", *self.outputs, *(f"{model} - {first}" for model in others)]
        cells = []
        for arm, column in self._places():
            values = [_cell(self._estimate(model, arm, column)) for model in self.outputs]
            changes = [_cell(self._difference(model, arm, column), "+") for model in others]
            cells.append([self._heading(arm, column), *values, *changes])
        seconds = [output.facts.get(SECONDS) for output in self.outputs.values()]
        if any(seconds):
            times = ["" if each is None else f"{each:.2g}" for each in seconds]
            cells.append(["seconds per image", *times, *("" for _ in others)])
        return head, cells

    def _heading(self, arm: str, column: Column) -> str:
        metric = next(metric for metric in self.protocol.metrics if metric.name == column.metric)
        low = " (low is good)" if metric.better == "lower" else ""
        return ", ".join(filter(None, (arm, metric.title + low, column.condition)))

    def rows(self) -> list[dict[str, Any]]:
        """One a model, arm and column, those that the table leaves out among them."""
        found = []
        for model, output in self.outputs.items():
            for arm, column, values in output:
                row = {"protocol": self.name, "model": model, "data": self.data, "recipe": self.recipe["hash"]}
                row |= {"arm": arm} if arm else {}
                row |= {"metric": column.metric} | ({"condition": column.condition} if column.condition else {})
                row |= values.estimate()._asdict()
                found.append({**row, "queries": len(values.queries), "concepts": len(set(values.clusters.tolist()))})
        return found

    def differences(self) -> list[dict[str, Any]]:
        """Of each further model to the first."""
        first, *others = self.outputs
        found = []
        for model in others:
            for arm, column, _ in self.outputs[model]:
                change = self._difference(model, arm, column)
                if change is not None:
                    row = {"model": model, "against": first, **({"arm": arm} if arm else {}), "metric": column.metric}
                    row |= {"condition": column.condition} if column.condition else {}
                    found.append(row | change._asdict())
        return found

    def notes(self) -> list[str]:
        """What a reader should know."""
        first, *others = self.outputs
        concepts = max(len(set(values.clusters.tolist())) for o in self.outputs.values() for _, _, values in o)
        interval = f"in brackets 95 % bootstrap intervals over {concepts} concepts (copies and one caption are one)."
        notes = [f"In per cent, {interval}" if concepts > 1 else "In per cent. There is one concept: no intervals."]
        if others:
            notes.append(f"Differences are to {first}, on the same queries; without brackets where these differ.")
        models_of: dict[str, list[str]] = {}
        for model, output in self.outputs.items():
            for note in output.notes:
                models_of.setdefault(note, []).append(model)
        notes += [
            note if len(models_of[note]) == len(self.outputs) else f"{', '.join(models_of[note])}: {note}"
            for note in models_of
        ]
        if self.protocol.test:
            notes.append(f"Measured on: {self.protocol.test}.")
        return notes

    def chart(self) -> Chart:
        """The metrics that the protocol plots, by model."""
        plotted = [each for each in self._places() if each[1].metric in self.protocol.plots]
        columns = list(dict.fromkeys(column for _, column in plotted))
        # Points on a line begin and end at the sides; columns of their own stand in the middle of theirs.
        joined, count = self.protocol.joined and len(columns) > 1, max(1, len(columns))
        places = [0.03 + 0.94 * i / (count - 1) if joined else (i + 0.5) / count for i in range(count)]
        series = []
        for model in self.outputs:
            for arm in dict.fromkeys(arm for arm, _ in plotted):
                found = [(x, self._estimate(model, arm, column)) for x, column in zip(places, columns, strict=False)]
                points = [ChartPoint(x, *each) for x, each in found if each is not None]
                name = ", ".join(filter(None, (Path(model).name if len(self.outputs) > 1 or not arm else "", arm)))
                series += [Series(name[:22], points)] if points else []
        ticks = [(x, self._tick(column, columns)[:24]) for x, column in zip(places, columns, strict=False)]
        return Chart(self.title, self.protocol.axis, ticks, series, joined=joined)

    def _tick(self, column: Column, columns: Sequence[Column]) -> str:
        one = len({each.metric for each in columns}) == 1
        return column.condition if one and column.condition else self._heading("", column)


def _cell(value: MeanInterval | None, sign: str = "") -> str:
    """In per cent, with brackets where there is an interval."""
    if value is None:
        return ""
    middle, *ends = (f"{100 * each:{sign}.1f}" for each in value if each is not None)
    return f"{middle} [{', '.join(ends)}]" if ends else middle


def plain_table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in columns of spaces, under its title."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]]
    return "\n".join([title, *(line.rstrip() for line in lines)])


def write_page(
    folder: Path,
    title: str,
    svg: str,
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]],
    notes: Sequence[str],
    recipe: Mapping[str, Any],
    name: str = "table.html",
) -> None:
    """Writes a page that loads nothing from elsewhere. Sheets of answers in the folder, or in folders in it, stand
    below the tables.

    Args:
        folder: where it goes.
        title: above.
        svg: the plot.
        tables: a name, the head and the rows of each.
        notes: below.
        recipe: what the numbers hang on.
        name: of the file.
    """
    template = files("deixis.apps.report").joinpath("templates/protocol.html").read_text(encoding="utf-8")
    page = jinja2.Environment(autoescape=True, trim_blocks=True).from_string(template)
    sheets = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob(SHEET))]
    text = page.render(title=title, svg=svg, tables=tables, notes=notes, recipe=recipe, sheets=sheets)
    (folder / name).write_text(text, encoding="utf-8", errors="replace")
