"""The page on how far matching of texts and regions comes within minutes, from the rows in
`results/matching_gate.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence

from docs.papers import curves
from docs.tables import Page, Row, Table

__all__ = ["matching_gate_page"]

CURVES = "claims/matching-gate.svg"

_INTRODUCTION = """Claims about [uniter](methods/uniter.md) mean something only where matching of captions and scenes
can be learned at all: right for 90 of 100 held-out pairs, half of which belong together, within 4 minutes of the
processor. The worlds are simpler and simpler. `names`: two or three things of 8 nouns in 8 colours, whose regions are
known by what the detector says of their kinds, so that colours are hidden; `codes`: by noisy codes of noun and
colour; `untinted`: by what the detector says, and nothing has a colour; `nouns`: by codes of nouns alone, which
captions list alone; `said`: such captions of what the detector says. The claims stand in `said`: matching is learned
there and comes near the gate, which `nouns` alone passes. `python -m bench.matching_gate_rows names SEED` adds a row;
tries that do not come so far are kept, too. Of several of one world and seed the last counts."""


def matching_gate_page(rows: Sequence[Row], made: str, table: Table) -> Page:
    """The page in Markdown, and its curves; of several rows of one world and seed the last counts.

    Args:
        rows: of `results/matching_gate.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    parts = ["# The gate before claims about matching", made, _INTRODUCTION]
    last = {(row["world"], row["seed"]): row for row in rows}
    if not last:
        return Page("\n\n".join([*parts, "No try has been made yet."]) + "\n", {})
    passed: dict[str, list[bool]] = {}
    for (world, _), row in last.items():
        passed.setdefault(world, []).append(row["passed"])
    said = [f"{sum(each)} of {len(each)} seeds pass in `{world}`" for world, each in passed.items()]
    parts += [f"**{'; '.join(said)}.**", table(_HEAD, [_cells(row) for row in last.values()])]
    tries = [
        {
            "arm": f"{world}, seed {seed}",
            "config": {"axis": "minutes", "curve": [(seconds / 60, right) for seconds, _, right in row["curve"]]},
        }
        for (world, seed), row in last.items()
    ]
    parts += [
        f"![How far each try came]({CURVES})",
        "Horizontal axis: minutes of the processor; vertical: of 100 pairs.",
    ]
    return Page("\n\n".join(parts) + "\n", {CURVES: curves(tries)})


_HEAD = ("world", "seed", "passed", "right at last", "best", "steps", "minutes", "pairs to learn from", "date")


def _cells(row: Row) -> tuple[str, ...]:
    seconds, steps, right = row["curve"][-1]
    best = max(each for _, _, each in row["curve"])
    values = (row["world"], row["seed"], "yes" if row["passed"] else "no", right, best, f"{steps:,}")
    return (*map(str, values), f"{seconds / 60:.1f} of {row['minutes']:g}", str(row["pairs"]), row["date"][:10])
