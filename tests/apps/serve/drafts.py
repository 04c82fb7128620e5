"""A csv as `deixis caption` writes it, for servers of the small collection."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["DRAFTS", "rows_of", "write_drafts"]

DRAFTS = ((9, "a red <i>sheet</i>", 0.7), (4, "ورقة زرقاء", None), (0, "'=SUM(A1)", 0.25))
"""Row of the index, draft and chance; one is html, one runs from right to left, one is a formula made harmless."""

CAPTIONED = (1, 2, 3, 12, 18, 21)


def write_drafts(path: Path, items: Sequence[Mapping[str, Any]]) -> None:
    """Writes drafts of three pictures and one that no index has, and captions of six others."""
    rows = [
        (items[row]["path"], "", "", draft, "" if sure is None else f"{sure:.2f}", f"kept {number}")
        for number, (row, draft, sure) in enumerate(DRAFTS)
    ]
    rows += [("gone.png", "", "", "a picture that has gone", "", "")]
    rows += [(items[row]["path"], f"own {row}", "", "", "", "") for row in CAPTIONED]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "caption", "label", "draft", "sure", "note"), *rows])


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a csv."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
