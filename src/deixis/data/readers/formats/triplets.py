"""Votes on what looks alike: a table with the columns reference, left, right and vote, a row a triplet of pictures."""

from __future__ import annotations

import math
from typing import Any

from deixis.data.readers.captions import full_path
from deixis.data.readers.columns import ColumnTable
from deixis.data.readers.lookup import Lookup
from deixis.errors import DeixisError
from deixis.types.samples import Picture, Sample, Skipped, Source

__all__ = ["COLUMNS", "VOTE", "from_triplets", "holds_triplets"]

COLUMNS, VOTE = ("reference", "left", "right"), "vote"
_WORDS = {"left": 0.0, "right": 1.0}


def holds_triplets(table: ColumnTable) -> bool:
    """Whether the rows of a table are triplets: two of the three columns are there."""
    return len(set(COLUMNS) & set(table.columns)) >= 2


def from_triplets(table: ColumnTable) -> Source:
    """Samples of triplets: the image is the reference, `extra` has all three as `triplets` and the vote as `votes`.

    A vote is `left`, `right`, or the share of votes for the right one, from 0 to 1; rows without one are left out.

    Raises:
        DeixisError: a column is missing, or all votes are for one side.
    """
    missing = [name for name in (*COLUMNS, VOTE) if name not in table.columns]
    if missing:
        raise DeixisError(
            f"{full_path(table.path)} has no column {missing[0]!r}; it has {', '.join(table.columns)}.",
            f"Votes on what looks alike have the columns {', '.join((*COLUMNS, VOTE))}.",
        )
    lookup, samples, skipped = Lookup(table.path), list[Sample](), list(table.skipped)
    voted = [(line, row) for line, row in table.rows if str(row.get(VOTE) or "").strip() or row.get(VOTE) == 0]
    if not voted:
        raise DeixisError(f"No row of {full_path(table.path)} has a vote.", "Write left or right into some.")
    for line, row in voted:
        made = _sample(row, lookup, f"{table.unit} {line}")
        (skipped if isinstance(made, Skipped) else samples).append(made)  # type: ignore[arg-type]
    sides = {sample.extra["votes"] > 0.5 for sample in samples}
    if len(samples) > 1 and len(sides) == 1:
        side = "right" if sides.pop() else "left"
        raise DeixisError(
            f"All {len(samples)} votes of {full_path(table.path)} are for the {side} picture.",
            "Such votes say nothing of the pictures: deal the variants to both sides at random.",
        )
    rest = len(table.rows) - len(voted)
    left_out = (f"{rest} of {len(table.rows)} triplets have no vote, and are left out.",) if rest else ()
    notes = (*table.notes, *lookup.notes(), *left_out)
    return Source(
        table.name,
        table.root or table.path,
        "images",
        f"{table.layout} of triplets",
        tuple(samples),
        tuple(skipped),
        notes,
    )


def _sample(row: dict[str, Any], lookup: Lookup, where: str) -> Sample | Skipped:
    vote = _vote(row.get(VOTE))
    if vote is None:
        return Skipped(where, "vote is no share", where)
    names, pictures = list[str](), list[Picture]()
    for column in COLUMNS:
        found = row[column] if isinstance(row.get(column), tuple) else lookup.find(row.get(column))
        if isinstance(found, Skipped):
            return Skipped(found.path or where, found.reason, where)
        names.append(found[0])
        pictures.append(found[1])
    extra = {"triplets": tuple(pictures), "votes": vote}
    return Sample(" | ".join(names), pictures[0], groups=(f"reference:{names[0]}",), extra=extra)


def _vote(value: Any) -> float | None:
    """The share of votes for the right one; None where it is none."""
    text = str("" if value is None else value).strip().casefold()
    try:
        vote = _WORDS[text] if text in _WORDS else float(text)
    except ValueError:
        return None
    return vote if math.isfinite(vote) and 0 <= vote <= 1 else None
