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

_SERVER = """Clients ask `deixis serve` for minutes while another process changes the index and has it written anew;
then come clients that do not behave (`python -m bench.serve_rows`, [bench/serve_rows.py](../bench/serve_rows.py)). Of
each state of the index ten pictures carry its number: an answer that holds two numbers would be a mixture."""

_COLUMNS = {
    "half_written": "half-written",
    "orphans": "processes left",
    "left": "temporary files left",
}


def faults_page(rows: Sequence[Row], served: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown; the kills of all rows of a command are summed.

    Args:
        rows: of `results/faults.jsonl`.
        served: of `results/serve.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    commands = dict.fromkeys(str(row["verb"]) for row in rows)
    cells = [_cells(name, [row for row in rows if row["verb"] == name]) for name in commands]
    head = ("command", "kills", "other result", *_COLUMNS.values(), "mean seconds lost")
    found = table(head, cells) if cells else "Nothing was measured yet."
    server = ["## The server", _SERVER, _served(served[-1], table) if served else "Nothing was measured yet."]
    return "\n\n".join(["# Killed and run again", made, _INTRODUCTION, found, *server]) + "\n"


def _served(row: Row, table: Table) -> str:
    """The latest long run, a line a question."""
    lines = [
        ("clients, pictures, seconds", f"{row['clients']}, {row['pictures']:,}, {row['seconds']:g}"),
        ("requests answered", f"{row['requests']:,}"),
        ("5xx; without an answer", f"{row['server_errors']}; {row['without_answer']}"),
        ("changes of the index; times it was written anew", f"{row['changes']}; {row['compactions']}"),
        ("answers in which two states were mixed", f"{row['mixed_answers']} of {row['answers_of_marked']}"),
        ("resident memory, first part and end", f"{row['first_mb']:.0f} MB, {row['last_mb']:.0f} MB"),
        ("answered beside slow clients and half requests", f"{row['answered_beside']} of {row['asked_beside']}"),
        ("connections at a time; refused with 503; cut off", _flood(row)),
        ("hostile pictures; refused; 5xx", _hostile(row)),
        ("answers in the end", "yes" if row["answers_in_the_end"] else "**no**"),
    ]
    return table(("", "measured"), lines)


def _flood(row: Row) -> str:
    return f"{row['connections']:,}; {row['refused_with_503']:,}; {row['cut_off']:,}"


def _hostile(row: Row) -> str:
    return f"{row['hostile_pictures']}; {row['hostile_refused']}; {row['hostile_errors']}"


def _cells(name: str, rows: Sequence[Row]) -> list[str]:
    kills = sum(row["kills"] for row in rows)
    lost = sum(row["kills"] * row["seconds_lost"] for row in rows) / kills
    counts = [kills, kills - sum(row["equal"] for row in rows), *(sum(row[key] for row in rows) for key in _COLUMNS)]
    return [f"`deixis {name}`", *map(str, counts), f"{lost:.1f}"]
