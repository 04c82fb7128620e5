"""The page on kills, from the rows in `results/faults.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence

from docs.tables import Row, Table

__all__ = ["faults_page"]

_INTRODUCTION = """Commands are killed by SIGKILL after a random share of the time that they take, and the same command
is run again (`make faults N=200`, [bench/fault_rows.py](../bench/fault_rows.py)). The result should be that of
a run that was left alone, to the bit: the same weights, or ids and vectors. All columns but the first two and the
last should be 0. The seconds lost are those of both runs together less those of one alone, most of which is starting
twice."""

_COLUMNS = {
    "half_written": "half-written",
    "orphans": "processes left",
    "left": "temporary files left",
}


def faults_page(rows: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown; the kills of all rows of a command are summed.

    Args:
        rows: of `results/faults.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    commands = dict.fromkeys(str(row["verb"]) for row in rows)
    cells = [_cells(name, [row for row in rows if row["verb"] == name]) for name in commands]
    head = ("command", "kills", "other result", *_COLUMNS.values(), "mean seconds lost")
    found = table(head, cells) if cells else "Nothing was measured yet."
    return "\n\n".join(["# Killed and run again", made, _INTRODUCTION, found]) + "\n"


def _cells(name: str, rows: Sequence[Row]) -> list[str]:
    kills = sum(row["kills"] for row in rows)
    lost = sum(row["kills"] * row["seconds_lost"] for row in rows) / kills
    counts = [kills, kills - sum(row["equal"] for row in rows), *(sum(row[key] for row in rows) for key in _COLUMNS)]
    return [f"`deixis {name}`", *map(str, counts), f"{lost:.1f}"]
