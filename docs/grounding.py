"""The page on where `deixis ground` points without training, from the rows in `results/ground.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

__all__ = ["grounding_page"]

Row = Mapping[str, Any]
Table = Callable[[Sequence[str], Iterable[Sequence[Any]]], str]
_NORMAL = 1.96

_INTRODUCTION = """What `deixis ground` answers without `--model`: the detector and the starter, method `detect_match`.
Scenes are of photographic stamps, with other seeds than those that the method was fitted on. *Other nouns* are those
that name none of the detector's 80 kinds: half of them, and the method was fitted on the other half.
`set:photos-boxes/test` holds boxes drawn by eye. **These photographs are no blind test**: the default threshold, the
lower one of phrases that say more than a noun, the part that crops have in the order of boxes, and how sure crops alone
are, were set with their answers in view, so that other photographs may come out worse. `set:photos-boxes/blind` is one:
its boxes were drawn, and committed, before the method had answered on any of its photographs. Its first rows had few
answers from crops alone; the rule for these was changed since, on scenes and the other photographs, and not by which
answers were wrong here. Its rows are of the present rule; in the others, what crops answer is still by the one before.
There it points at plain nouns as well as on the test part, though more of them are known by crops alone; fewer of its
boxes overlap by half, and it answers less, of what is there and of what is not.

* **pointing**: the centre of the best box lies in a right box; **IoU 0.5**: the best box overlaps one by half or more.
* **answered**: the best box is above the threshold. Of things that are not there (*absent*) these are false answers.
* *plain* phrases name a thing; *unary* ones say colour, size or place, *comparison* a superlative, *relation* how it
  lies to another; *described* is all that says more than a noun.
* The source says how a phrase was scored: by a *kind* that a table of words names, by several (*kinds*), by a kind
  whose name is near (*similar kind*), or by comparing *crops* with the noun.

What is wrong most often, as the blind photographs show when they are looked at with all answers drawn:

* **Nothing was proposed.** The detector draws boxes around what could be one of its kinds: a building, a wall, an
  igloo, a temple or the sails of a windmill have none of their own, and some smaller box stands for them. Mostly its
  chance is low, and it is no answer.
* **A neighbour has the box.** A saucer gets that of the cup on it, a trumpet and a guitar those of the people who hold
  them, a handle that of the scissors; the second of these are confident, and wrong.
* **A part for the whole.** The striped tail of the lemur on the right is its own best animal.
* **Right, but no answer.** Two people far off, and a third of what crops alone know, are found with chances below the
  threshold: `--best` shows them.
* **Alike.** Crops alone tell tools apart badly: where no hammer is, scissors come near to one.

The pictures themselves are free, but not under this licence, so that none is shown here: `python -m docs.pictures
set:photos-boxes/blind sheet.png` draws them with the boxes, `deixis ground FOLDER WORDS --out OUT` with answers.

Shares come with 95 % intervals (Wilson's) over phrases. `python -m bench.ground_rows report`, or `blind`, adds rows; of
several of one set, family and source the last counts."""


def grounding_page(rows: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown.

    Args:
        rows: of `results/ground.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    last = {(row["data"], row["family"], row["source"]): row for row in rows}
    parts = ["# Locating without training", made, _INTRODUCTION]
    for data in dict.fromkeys(row["data"] for row in last.values()):
        cells = [
            (
                row["family"],
                "" if row["source"] == "all" else row["source"],
                row["queries"],
                *("" if row["family"] == "absent" else _share(row, key) for key in ("pointing", "accuracy")),
                _share(row, "answered"),
            )
            for row in last.values()
            if row["data"] == data and not _is_repeated(row, last)
        ]
        parts += [f"## {data}", table(("phrases", "source", "number", "pointing", "IoU 0.5", "answered"), cells)]
    return "\n\n".join(parts) + "\n"


def _is_repeated(row: Row, rows: Mapping[tuple[str, str, str], Row]) -> bool:
    """Whether it is of the only source of its family, which stands as the row of all."""
    whole = rows[row["data"], row["family"], "all"]
    return bool(row["source"] != "all" and row["queries"] == whole["queries"])


def _share(row: Row, key: str) -> str:
    count, share = int(row["queries"]), float(row[key])
    middle = (share + _NORMAL**2 / (2 * count)) / (1 + _NORMAL**2 / count)
    spread = _NORMAL * math.sqrt(share * (1 - share) / count + (_NORMAL / (2 * count)) ** 2) / (1 + _NORMAL**2 / count)
    return f"{share:.2f} ({max(0.0, middle - spread):.2f} to {min(1.0, middle + spread):.2f})"
