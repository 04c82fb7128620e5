"""The page of open_clip's models against open_clip, from the rows in `results/zoo.jsonl`."""

from __future__ import annotations

from collections.abc import Sequence

from docs.tables import Row, Table

__all__ = ["zoo_page"]

_INTRO = """`deixis.load` against open_clip, model by model: each architecture is built by open_clip with random
weights, written in its layout and loaded by deixis; both embed the same two pictures (with the preprocessing of each
published checkpoint) and the same five captions. The difference is the largest of any number of an embedding of length
1. A toy tokenizer has the special tokens, their order and the padding of one that lies on a model hub. Where layers are
given, both sides have no more than so many of them in a tower, and where the tokenizer is a toy a smaller vocabulary.
`python -m bench.zoo_rows` adds what is missing."""


def zoo_page(rows: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown: a summary, and a line for each checkpoint and each config without one.

    Args:
        rows: of `results/zoo.jsonl`; of several of one checkpoint the last counts.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    last = {(row["architecture"], row["checkpoint"]): row for row in rows}
    lines = sorted(last.values(), key=lambda row: (row["architecture"].lower(), row["checkpoint"]))
    published = [row for row in lines if row["checkpoint"]]
    equal = [row for row in published if row["loaded"] and _difference(row) <= 1e-5]
    summary = (
        f"{len(published)} published checkpoints have a row; {len(equal)} of them are equal to open_clip within 1e-5. "
        f"{len(lines) - len(published)} further rows are of configs without published weights."
    )
    head = ("architecture", "weights", "million parameters", "pictures", "captions", "layers", "tokenizer", "version")
    cells = [
        (
            row["architecture"],
            row["checkpoint"] or "none published",
            round(row["parameters"] / 1e6),
            _number(row, "image_difference"),
            _number(row, "text_difference"),
            row["depth"] or "all",
            row["tokenizer"],
            row["commit"],
        )
        for row in lines
    ]
    return "\n\n".join(["# Models of open_clip", made, _INTRO, summary, table(head, cells)]) + "\n"


def _difference(row: Row) -> float:
    return max(row["image_difference"], row["text_difference"])


def _number(row: Row, key: str) -> str:
    return f"{row[key]:.1e}" if row["loaded"] else row["error"]
