"""A folder as `deixis words` writes it, for servers of the small collection."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deixis.apps.label.cells import write_rows
from deixis.apps.words.written import tag_rows
from deixis.types import Sample

__all__ = ["SUGGESTED", "write_words"]

SUGGESTED = {9: (("=1+1", 0.6), ("sea", 0.25)), 4: (("<b>boat</b>", 0.6),), 0: (("sea", 0.6), ("بحر", 0.25))}
"""Row of the index, its suggested tags and chances; one is a formula, one html, one runs from right to left."""

_WORDS = ("sea", "boat", "<b>boat</b>", "=1+1", "بحر")


def write_words(folder: Path, items: Sequence[Mapping[str, Any]]) -> None:
    """Writes suggestions for three pictures and one that no index has; each picture has two tags."""
    folder.mkdir(exist_ok=True)
    paths = [str(item["path"]) for item in items]
    rows = [
        (paths[row], tag, f"{chance:.2f}") for rank in range(2) for row, several in SUGGESTED.items()
        for tag, chance in several[rank : rank + 1]
    ]  # fmt: skip
    write_rows(folder / "missing.csv", [("path", "tag", "chance"), *rows, ("/gone.png", "sea", "0.25")])
    samples = [Sample(path, Path(path), (f"a sheet, {number}",)) for number, path in enumerate(paths)]
    order = [9, 4, 0, *(row for row in range(len(paths)) if row not in SUGGESTED)]
    table = tag_rows(samples, paths, [["sheet", f"own {row}"] for row in range(len(paths))], [[]] * len(paths))
    write_rows(folder / "tags.csv", [table[0], *(table[1 + row] for row in order)])
    near = {
        word: {
            "pictures": 9 - number,
            **{kind: {o: 0.5 for o in _WORDS if o != word} for kind in ("goes with", "looks like", "both")},
        }
        for number, word in enumerate(_WORDS)
    }
    (folder / "words.json").write_text(json.dumps(near), encoding="utf-8")
    (folder / "result.json").write_text(json.dumps({"sentence": "Of 100 tags held back 52 were found."}))
