"""The page on how stable the verdict of `deixis adapt` is, from the rows in `results/verdict_stability.jsonl`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from docs.papers import curves
from docs.tables import Page, Row, Table

__all__ = ["stability_page"]

Cell = tuple[str, int]
_SURE, _DRAWN = 1.96, 3

_INTRODUCTION = """`deixis adapt` decides on pictures that it holds out, so that its verdict depends on which are
held out. Here the whole procedure (20 divisions by concept, method `residual`, the starter) is
run again and again. Rows are added by `python -m bench.verdict_stability`, which goes on where it
stopped: what has few seeds below has not been measured further yet. `photographs` are those of
`gcompris` with few words, their title or the name of their file."""


def stability_page(rows: Sequence[Row], made: str, table: Table) -> Page:
    """The page in Markdown, and its curves.

    Args:
        rows: of `results/verdict_stability.jsonl`.
        made: the remark that the page is made.
        table: makes a table of a head and rows.
    """
    pictures = {}
    parts = ["# How stable the verdict is", made, _INTRODUCTION]
    for name, heading, text, head, lines, curve in _sections(rows):
        parts += [f"## {heading}", text, table(("set", "pictures", *head), lines)]
        drawn = _curve_rows(curve)
        if drawn:
            file = f"claims/verdict-{name}.svg"
            pictures[file] = curves(drawn)
            axes = f"Horizontal axis: pictures; vertical: {head[-1]}, as a share."
            parts.append(f"![{heading}, by number of pictures]({file})\n\n{axes}")
    parts.append("## Time\n\n" + _seconds(rows))
    return Page("\n\n".join(parts) + "\n", pictures)


def _sections(
    rows: Sequence[Row],
) -> Iterator[tuple[str, str, str, tuple[str, ...], list[list[str]], dict[Cell, float]]]:
    for name, heading, text, kind, head, measured in (
        ("seeds", "The same pictures, another seed", _SEEDS, "fixed", _SEEDS_HEAD, _agreement),
        ("shuffled", "Captions dealt out at random", _SHUFFLED, "shuffled", ("seeds", "kept wrongly"), _kept),
        ("coverage", "Does the interval hold the gain elsewhere?", _COVERAGE, "sample", _COVERAGE_HEAD, _covered),
        ("power", "How often a gain is found", _POWER, "sample", _POWER_HEAD, _found),
    ):
        lines, curve = [], {}
        for cell, some in _cells(rows, kind).items():
            result = measured(some)
            if result is not None:
                figures, share = result
                if len(some) >= _DRAWN:
                    curve[cell] = share
                lines.append([cell[0], str(cell[1]), str(len(some)), *figures])
        yield name, heading, text, head, lines, curve


_SEEDS = """One sample of each set and size; the seeds differ in divisions and training. *Agree* are the seeds
whose verdict is the commonest one, or that say *borderline*: the aim is 95 of 100."""
_SEEDS_HEAD = ("seeds", "verdicts", "borderline", "same verdict", "agree, of 100")
_SHUFFLED = """Other pictures for each seed, and captions dealt out concept by concept. *Kept wrongly* counts
every verdict but "the original was retained"; a probable gain is saved only if, besides, nothing
is forgotten elsewhere. The aim is at most 1 in 20."""
_COVERAGE = """Other pictures for each seed. What the adapters of the divisions gain on the rest of the set, in
galleries of the size of the held-out parts, should lie in the 95 % interval for 90 to 98 of 100
seeds. The gain on the rest has an error of its own, which is allowed for but in the column that
says so. *Corrected t* is the interval of Nadeau and Bengio over the divisions. The mean
reciprocal rank and the measure of the sentence are counted together."""
_COVERAGE_HEAD = ("seeds", "corrected t", "without the rest's error", "interval of the sentence, of 100")
_POWER = """The same runs. *Gain* is the mean gain on the rest of the set in mean reciprocal rank, in points:
what there was to be found."""
_POWER_HEAD = ("seeds", "gain", "adapted", "probably better", "found, of 100")


def _cells(rows: Sequence[Row], kind: str) -> dict[Cell, list[Row]]:
    found: dict[Cell, list[Row]] = {}
    for row in sorted(rows, key=lambda row: (row["set"], row["size"], row["seed"])):
        if row["kind"] == kind:
            found.setdefault((row["set"], row["size"]), []).append(row)
    return found


def _agreement(rows: Sequence[Row]) -> tuple[list[str], float]:
    outcomes = Counter(row["outcome"] for row in rows)
    [(common, count)] = outcomes.most_common(1)
    agree = sum(row["outcome"] == common or row["borderline"] for row in rows) / len(rows)
    said = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.most_common())
    borderline = sum(row["borderline"] for row in rows)
    return [said, str(borderline), f"{100 * count / len(rows):.0f}", f"{100 * agree:.0f}"], agree


def _kept(rows: Sequence[Row]) -> tuple[list[str], float]:
    kept = sum(row["outcome"] != "original" for row in rows)
    return [f"{kept} of {len(rows)}"], kept / len(rows)


def _covered(rows: Sequence[Row]) -> tuple[list[str], float] | None:
    with_rest = [row for row in rows if row["rest"]]
    if not with_rest:
        return None
    corrected, gain = (_coverage(with_rest, name, True) for name in ("corrected_t", "gain"))
    return [f"{100 * each:.0f}" for each in (corrected, _coverage(with_rest, "gain", False), gain)], gain


def _coverage(rows: Sequence[Row], interval: str, with_error: bool) -> float:
    """The share of seeds and measures whose interval holds the gain on the rest."""
    held = []
    for row in rows:
        for name in {row["metric"], "mean_mrr"}:
            value, low, high = row[interval][name]
            rest, error = row["rest"][name]
            half = ((high - low) ** 2 / 4 + (_SURE * error) ** 2 * with_error) ** 0.5
            held.append(abs(rest - value) <= half)
    return sum(held) / len(held)


def _found(rows: Sequence[Row]) -> tuple[list[str], float]:
    gains = [row["rest"]["mean_mrr"][0] for row in rows if row["rest"]]
    gain = f"{100 * sum(gains) / len(gains):+.1f}" if gains else "not measured"
    adapted, probable = (sum(row["outcome"] == each for row in rows) for each in ("adapted", "probable"))
    share = (adapted + probable) / len(rows)
    return [gain, str(adapted), str(probable), f"{100 * share:.0f}"], share


def _curve_rows(shares: Mapping[Cell, float]) -> list[dict[str, Any]]:
    """Rows as those of a claim's curves, of the sets that were measured at all of the sizes."""
    sizes = sorted({size for _, size in shares})
    sets = [name for name in dict.fromkeys(name for name, _ in shares) if all((name, size) in shares for size in sizes)]
    if len(sizes) < 2:
        return []
    return [
        {"arm": name, "config": {"axis": "pictures", "curve": [[size, shares[name, size]] for size in sizes]}}
        for name in sets
    ]


def _seconds(rows: Sequence[Row]) -> str:
    sizes = sorted({row["size"] for row in rows})
    told = []
    for size in sizes:
        spent = sorted(row["seconds"] for row in rows if row["size"] == size)
        told.append(f"{spent[len(spent) // 2]:.0f} s for {size} pictures")
    last = max(str(row["date"]) for row in rows)[:10] if rows else ""
    return (
        "Processor time of a run, without encoding the pictures, on one thread of a machine in use: "
        f"{', '.join(told)}. {len(rows)} rows, the last of {last}."
    )
