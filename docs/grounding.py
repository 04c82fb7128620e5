"""The page on where `deixis ground` points without training, from the rows in `results/ground.jsonl`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from docs.tables import Row, Table

__all__ = ["grounding_page"]

_NORMAL = 1.96

_INTRODUCTION = """What `deixis ground` answers without `--model`: the detector and the starter, method `detect_match`.
Scenes are of photographic stamps, with other seeds than those that the method was fitted on. *Other nouns* are those
that name none of the detector's 80 kinds: half of them, and the method was fitted on the other half.
`set:photos-boxes/test` holds boxes drawn by eye ([results](results.md) has its figures by the present rule). **These
photographs are no blind test**: the default threshold, the lower one of phrases that say more than a noun, the part
that crops have in the order of boxes, and how sure crops alone are, were set with their answers in view, so that other
photographs may come out worse. `set:photos-boxes/blind` is one: its boxes were drawn, and committed, before the method
had answered on any of its photographs. Its first rows had few answers from crops alone; the rule for these was changed
since, on scenes and the other photographs, and not by which answers were wrong here. All rows are of the present rule.
On the blind photographs it points at plain nouns as well as on the test part, though more of them are known by crops
alone; fewer of its boxes overlap by half, and it answers less, of what is there and of what is not.

* **pointing**: the centre of the best box lies in a right box; **IoU 0.5**: the best box overlaps one by half or more.
* **answered**: the best box is above the threshold. Of things that are not there (*absent*) these are false answers.
* *plain* phrases name a thing; *unary* ones say colour, size or place, *comparison* a superlative, *relation* how it
  lies to another; *described* is all that says more than a noun.
* *proposals*: of the things in the pictures, those that one of the detector's likeliest boxes overlaps by half.
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

The 39 photographs of the test part, looked at in the same way, add:

* **Among its own.** A grey horse is answered to *a cow*, and a chicken to *a duck*. *A sign* is taken for the kind
  "stop sign" and not found, and of a knife, a fork and a spoon side by side the fork is missed.
* **One of several.** *Five horses* and *five spoons* are green as soon as the best box is right, though some of them
  are not found; how many are is measured apart, by F1 (`several_f1` in [results](results.md)).
* **The edge and the dark.** A bison that the picture cuts, four men on a dark stage and a painted man are not answered.

The pictures themselves are free, but not under this licence, so that none is shown here: `deixis eval
set:photos-boxes/blind --protocol grounding --model detect_match` draws them with all answers (`answers.jpg`, also in
its `table.html`): right in green, wrong in red, and what is there in yellow. `set:scenes/test` instead shows hits and
misses in scenes. Beside the method stand what it has to beat, the middle, the largest box, crops alone and the highest
pixel of a map, with intervals over pictures: [results](results.md).

Wanted and not reached: that 70 of 100 phrases of what is there are pointed at rightly where 5 % of what is not there is
answered (`found_at_5` in [results](results.md)), and that `ground` is twice as fast as a plain loop
([races](races.md)), where the detector takes the time on both sides.

Shares come with 95 % intervals (Wilson's) over phrases. `python -m bench.ground_rows report`, or `blind`, adds rows; of
several of one set, family and source the last counts."""


_OWN = """A table of boxes with phrases teaches their order (`deixis adapt boxes.csv`, [adapting](adapting.md)). Here
the boxes are those of scenes of stamps of the split train, one phrase each. *Held out*: the gain on the pictures that
were not learned from, by which it is decided what is kept. *Unseen*: on 60 scenes of stamps that no box was drawn
around, the share of phrases whose best box is right, before and after, and for how many any of the boxes that are
ordered is; an order that was kept as it was answers as before, and is not asked. All in per cent with 95 % intervals
over pictures; `python -m bench.own_boxes_rows 200 20 20` adds rows. **A gain from 200 boxes was wanted and is not
there**: the linear correction of what `detect_match` says learned nothing that holds on other pictures."""


def grounding_page(rows: Sequence[Row], own: Sequence[Row], made: str, table: Table) -> str:
    """The page in Markdown.

    Args:
        rows: of `results/ground.jsonl`.
        own: of `results/own_boxes.jsonl`.
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
    return "\n\n".join([*parts, "## One's own boxes", _OWN, table(_OWN_HEAD, map(_learned, own))]) + "\n"


_OWN_HEAD = (
    *("boxes", "pictures", "verdict", "gain held out", "unseen before", "unseen after", "difference", "reachable"),
    "processor",
)


def _learned(row: Row) -> tuple[Any, ...]:
    """The cells of a run of `deixis adapt`."""
    unseen = row["unseen"]
    right = {} if unseen is None else unseen["box_accuracy"]
    return (
        *(row["boxes"], row["pictures"], row["outcome"] if row["kept"] == "adapted" else f"{row['outcome']}, not kept"),
        _per_cent(row["held_out"]["box_accuracy"]),
        *(_per_cent(right[which]) if right else "" for which in ("before", "after", "difference")),
        f"{100 * unseen['best_possible']:.0f}" if right else "",
        f"{row['cpu_seconds']:.0f} s",
    )


def _per_cent(interval: Sequence[float]) -> str:
    value, low, high = (100 * each for each in interval)
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _is_repeated(row: Row, rows: Mapping[tuple[str, str, str], Row]) -> bool:
    """Whether it is of the only source of its family, which stands as the row of all."""
    whole = rows.get((row["data"], row["family"], "all"))
    return bool(whole and row["source"] != "all" and row["queries"] == whole["queries"])


def _share(row: Row, key: str) -> str:
    if key not in row:
        return ""
    count, share = int(row["queries"]), float(row[key])
    middle = (share + _NORMAL**2 / (2 * count)) / (1 + _NORMAL**2 / count)
    spread = _NORMAL * math.sqrt(share * (1 - share) / count + (_NORMAL / (2 * count)) ** 2) / (1 + _NORMAL**2 / count)
    return f"{share:.2f} ({max(0.0, middle - spread):.2f} to {min(1.0, middle + spread):.2f})"
