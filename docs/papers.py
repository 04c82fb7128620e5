"""The page of papers: of each whether it is built, faithful and shown, with numbers and curves from rows."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from deixis.engine.claims.outcomes import TrialResult, before, judge_outcomes, result_of
from deixis.engine.claims.pending import PendingClaim
from deixis.engine.claims.source_code import changed_code, passed_through, source_hash
from deixis.engine.claims.tuning import ends
from deixis.engine.claims.verdicts import PairedComparison
from deixis.methods import Literals, list_methods
from docs.changed_verdicts import changed_verdicts
from docs.missing_runs import missing_runs
from docs.remarks import BUILT_ON, REMARKS, VECTORS
from docs.tables import Page, Row

__all__ = ["Results", "golden_files", "papers_page"]

WIDTH, HEIGHT, EDGE = 560, 300, 46
INKS = ("#c0392b", "#2c6fbb", "#2e8b57", "#8e5bb5", "#b8860b", "#555555")


class Results(NamedTuple):
    """The committed rows, in order."""

    claims: Sequence[Row] = ()
    verdicts: Sequence[Row] = ()
    trials: Sequence[Row] = ()
    claim_code: Sequence[Row] = ()

    @classmethod
    def read(cls, folder: Path) -> Results:
        """What lies under `results/`; files that are missing have no rows."""
        paths = [folder / f"{name}.jsonl" for name in cls._fields]
        return cls(
            *([json.loads(line) for line in p.read_text("utf-8").splitlines()] if p.exists() else [] for p in paths)
        )


def golden_files(folder: Path, names: Sequence[str]) -> dict[str, int]:
    """Method -> how many files of golden numbers bear its name (`sr_map`: that of `srmap`), or no longer name's; see
    `BUILT_ON` for those that bear another."""
    found = dict.fromkeys(names, 0)
    for path in folder.glob("*.npz"):
        first, _, rest = path.stem.partition("_")
        stem = f"{BUILT_ON.get(first, first)}_{rest}"
        starts = {stem[:end].replace("_", "") for end, letter in enumerate(f"{stem}_") if letter == "_"}
        fitting = [name for name in names if name.replace("_", "") in starts]
        if fitting:
            found[max(fitting, key=len)] += 1
    return found


def papers_page(
    methods: Sequence[Literals],
    results: Results,
    golden: Mapping[str, int],
    made: str,
    missing: Sequence[PendingClaim] = (),
) -> Page:
    """The table of papers, and of each claim that was tried its arms, verdicts and curve.

    Args:
        methods: those of the role `paper`.
        results: the rows.
        golden: as `golden_files` gives it.
        made: the remark that the page is made.
        missing: what is still to be run, in order.
    """
    from docs.build import table

    rows = [
        (
            f"[{each.name}](methods/{each.name}.md)",
            f"{each.card.title} ({each.card.year})",
            "yes",
            _faithful(golden.get(each.name, 0), VECTORS.get(each.name, "")),
            _shown(each, results),
        )
        for each in methods
    ]
    changed = changed_verdicts(methods, results.verdicts)
    parts = ["# Papers", made, *changed, INTRODUCTION, table(("name", "paper", "built", "faithful", "shown"), rows)]
    if results.claims:
        hours = sum(row["seconds"] for row in results.claims) / 3600
        parts.append(f"The runs reported below took {hours:.1f} CPU hours, without the tuning trials.")
    parts += missing_runs(missing)
    pictures: dict[str, str] = {}
    for each in methods:
        for number, kept in enumerate(_by_claim(results, each.name), 1):
            name = f"claims/{each.name}-{number}.svg"
            pictures[name] = curves(kept)
            parts += [
                _section(each, kept, results),
                f"![{each.name}: {kept[0]['metric']} over {_axis(kept)}]({name})",
                _caption(kept),
            ]
    return Page("\n\n".join(parts) + "\n", pictures)


INTRODUCTION = """**built**: it passes the contract tests of its kind. **faithful**: its tests reproduce numbers of the
authors' code (gradients too where they are stored), or of a loop written from the equations where there is none, or it
does not run; which of both, stands beside. **shown**: its
claims were tested at small scale by `deixis claim`, with a verdict against each baseline. Unfavourable verdicts
stay. Verdicts stand as they were recorded; where stricter rules of today, applied to the same rows, say otherwise, that
stands beside. **void**: the rival did not learn, so that the comparison says nothing. Rows from before 2026-12 name no
code but their commit, later ones that of the methods, the task, the measures, the ops and the networks; code that
changed since is listed. A claim that a later one tries again is not run any more."""


def _faithful(count: int, origin: str) -> str:
    """How many files of golden numbers there are, and what they rest on."""
    text = f"{count} golden file{'s' * (count != 1)}" if count else "no golden file; see its tests"
    return f"{text}, of {origin}" if count and origin else text


def _shown(method: Literals, results: Results) -> str:
    if not method.claims:
        return "no claim yet"
    latest = _verdicts(results, method.name)
    said = []
    for claim in method.claims:
        found = [row for (statement, _), row in latest.items() if statement == claim.statement]
        rows = next((rows for rows in _by_claim(results, method.name) if rows[0]["claim"] == claim.statement), [])
        now = _today(rows, found)
        text = "; ".join(_short(row, now.get(row["baseline"])) for row in found) or "not yet run"
        said.append(f"{claim.metric}, {claim.statistic}{'' if claim.primary else ' (beside)'}: {text}")
    return ". ".join(said)


def _short(row: Row, now: PairedComparison | None) -> str:
    changed = f" (by the present rules {now.verdict})" if now is not None and now.verdict != row["verdict"] else ""
    return f"{row['verdict']} against {row['baseline']}{changed}"


def _today(rows: Sequence[Row], verdicts: Sequence[Row]) -> dict[str, PairedComparison]:
    """Baseline -> what the present rules say of rows, older ones too."""
    if not rows or not verdicts:
        return {}
    first, arms = verdicts[0]["method"], _arms(rows)
    names = [first, *(row["baseline"] for row in verdicts)]
    if not set(names) <= set(arms):
        return {}
    outcomes = {arm: [_result(row) for row in arms[arm]] for arm in names}
    return judge_outcomes(outcomes, rows[0]["config"]["statistic"], verdicts[0]["minimum_effect"])


def _result(row: Row) -> TrialResult:
    """What a row says; of older ones, chance where it follows from the claim's options."""
    found, options = result_of(row), row["config"].get("options", {})
    held = options.get("held", 0)
    if found.chance is None and row["metric"] == "binding":
        return dataclasses.replace(found, chance=0.5, queries=held)
    if found.chance is None and held and row["metric"] == "recall_at_1":
        return dataclasses.replace(found, chance=1 / held, queries=held)
    return found


def _verdicts(results: Results, paper: str) -> dict[tuple[str, str], Row]:
    """(statement, baseline) -> the latest verdict."""
    return {(row["claim"], row["baseline"]): row for row in results.verdicts if row["paper"] == paper}


def _by_claim(results: Results, paper: str) -> list[list[Row]]:
    """Rows of each claim, those of its latest inputs."""
    found: dict[str, list[Row]] = {}
    for row in results.claims:
        if row["paper"] == paper:
            found.setdefault(row["claim"], []).append(row)
    return [[row for row in rows if row["config"]["inputs"] == rows[-1]["config"]["inputs"]] for rows in found.values()]


def _section(method: Literals, rows: Sequence[Row], results: Results) -> str:
    from docs.build import table

    paper, first, arms = method.name, rows[0], _arms(rows)
    cells = [
        (
            arm,
            *map(_level, (before([_result(row) for row in each]), _result(each[0]).chance)),
            f"{mean(row['value'] for row in each):.3f}",
            f"{min(row['value'] for row in each):.3f} to {max(row['value'] for row in each):.3f}",
            *(len(each), f"{mean(row['seconds'] for row in each):.0f}", each[0]["config"]["trials"]),
            ", ".join(f"{key} {value}" for key, value in each[0]["config"]["settings"].items()),
        )
        for arm, each in arms.items()
    ]
    head = ("arm", "before", "chance", first["metric"], "over seeds", "seeds", "seconds", "trials", "settings")
    verdicts = [row for key, row in _verdicts(results, paper).items() if key[0] == first["claim"]]
    now = _today(rows, verdicts)
    said = [_sentence(row, first["config"]["statistic"], now.get(row["baseline"])) for row in verdicts]
    said += [*_again(method, first, results), *_choices(method, arms, results), *_stale(arms, results)]
    after = f"with {first['budget']} {_axis(rows)}" if "axis" in first["config"] else f"after {first['budget']} images"
    seen = f"{first['metric']} on the test part of `{first['data']}` {after}."
    said += [REMARKS[paper, first["claim"]]] if (paper, first["claim"]) in REMARKS else []
    return "\n\n".join([f"## {paper}: {first['claim']}", seen, table(head, cells), *said])


def _axis(rows: Sequence[Row]) -> str:
    """What the curves of a claim run over."""
    return str(rows[0]["config"].get("axis", "images seen"))


def _caption(rows: Sequence[Row]) -> str:
    first = rows[0]["config"]["curve"][0][0]
    until = f"up to {max(point[0] for point in rows[0]['config']['curve']):.0f}"
    return f"Horizontal axis: {_axis(rows)}, from {first:.0f} {until}; vertical axis: {rows[0]['metric']}."


def _level(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _choices(method: Literals, arms: Mapping[str, Sequence[Row]], results: Results) -> list[str]:
    """What there is to say of how settings were chosen."""
    rows = {arm: each[0] for arm, each in arms.items()}
    counts = {arm: row["config"]["trials"] for arm, row in rows.items()}
    said = []
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{arm} {count}" for arm, count in counts.items())
        said.append(f"The arms tried unequal numbers of settings ({listed}); new rows of such a claim are refused.")
    at_end = [f"{name} of {arm}" for arm, row in rows.items() for name in _at_end(method, arm, row)]
    if at_end:
        said.append(f"The best value is at an end of what was tried: {', '.join(at_end)}.")
    if counts and max(counts.values()) > 1 and _chosen_on_one_network(method, next(iter(rows.values()))):
        said.append("Settings were chosen on one network and reported on others, for which they need not be the best.")
    tried = [row for row in results.trials if row["inputs"] == next(iter(rows.values()))["config"]["inputs"]]
    if tried:
        said.append(f"The {len(tried)} settings that were tried, with their values, are in `results/trials.jsonl`.")
    return said


def _chosen_on_one_network(method: Literals, row: Row) -> bool:
    each_seed = any(claim.statement == row["claim"] and claim.choose != "once" for claim in method.claims)
    return not each_seed and _own_networks(row)


def _own_networks(row: Row) -> bool:
    from deixis.engine.claims.claim_tasks import list_tasks, read_task

    return row["data"] in list_tasks() and read_task(row["data"]).card.own_networks


def _again(method: Literals, row: Row, results: Results) -> list[str]:
    """What was known of an earlier claim when one that tries it again had its first rows."""
    again = next((claim.again for claim in method.claims if claim.statement == row["claim"]), "")
    if not again:
        return _known_before(method.name, row["claim"], results)
    known = [
        each
        for each in results.verdicts
        if (each["paper"], each["claim"]) == (method.name, again) and each["date"] <= row["date"]
    ]
    verdicts = "; ".join(f"{each['verdict']} against {each['baseline']} ({each['date'][:10]})" for each in known)
    return [
        f"This tries an earlier claim again, with other seeds, and was run on {row['date'][:10]}: '{again}' "
        f"What was known by then: {verdicts or 'nothing'}."
    ]


def _known_before(paper: str, claim: str, results: Results) -> list[str]:
    """Which results of the same paper on the same data were there when a claim was first run, of another commit: it may
    then have been written with them in view. What was run of one commit was written before any result of it."""
    first: dict[str, Row] = {}
    for row in sorted((row for row in results.claims if row["paper"] == paper), key=lambda row: str(row["date"])):
        first.setdefault(row["claim"], row)
    own = first.pop(claim)
    known = [
        f"'{statement}' ({row['date'][:10]})"
        for statement, row in first.items()
        if row["data"] == own["data"] and row["commit"] != own["commit"] and row["date"] < own["date"]
    ]
    if not known:
        return []
    return [
        f"This was first run on {own['date'][:10]}, when results of other claims on the same data were there, around "
        f"which it may have been planned: {'; '.join(known)}."
    ]


UNRECORDED = (
    "These rows rest on networks that were trained on a number of threads that was not recorded; other numbers give "
    "other networks, so that another run differs in each seed. Later rows are of one thread."
)


NOT_COMPARED = (
    "These rows are older than the record of the code that they passed through, and it was not compared whether the "
    "present code gives the same."
)


def _stale(arms: Mapping[str, Sequence[Row]], results: Results) -> list[str]:
    """Which code changed since rows that name it; of older ones whether the present code was compared with theirs."""
    rows = [each[0] for each in arms.values()]
    first, now = rows[0], dict[str, str]()
    for row in rows:
        method = row["config"].get("method", "")
        if method in list_methods():
            now |= {**passed_through(method, row["data"]), method: source_hash(method)}
    if codes := first["config"].get("codes"):
        changed = changed_code(codes, now) if now else []
        return [f"These rows are stale: code changed since, of {', '.join(changed)}."] if changed else []
    same = [
        row
        for row in results.claim_code
        if row["inputs"] == first["config"]["inputs"] and sorted(row["codes"].values()) == sorted(now.values())
    ]
    said = [UNRECORDED] if _own_networks(first) else []
    if not same:
        return [*said, NOT_COMPARED]
    day = same[-1]["date"][:10]
    return [*said, f"The present code was compared with that of these rows on {day}, and computes the same to the bit."]


def _at_end(method: Literals, arm: str, row: Row) -> list[str]:
    """Fields whose chosen value is an end of what was tried: those that the row names, and tuples at an end of the
    claim's grid, which rows from before 2026-12 do not name."""
    grids = [claim.arms[arm].grid for claim in method.claims if claim.statement == row["claim"] and arm in claim.arms]
    found = list(row["config"].get("edges", ()))
    for name, values in (grids[0] if grids else {}).items():
        low_high = [list(each) for each in ends([{name: value} for value in values]).get(name, ()) if _tuple(each)]
        if row["config"]["settings"].get(name) in low_high and name not in found:
            found.append(name)
    return found


def _tuple(value: Any) -> bool:
    return isinstance(value, tuple)


def _sentence(row: Row, statistic: str, now: PairedComparison | None) -> str:
    unit = " times" if statistic == "ratio" else ""
    meaning = (
        " It is the share of the axis over which the arm that ends ahead was ahead without a break, negative where "
        f"that is {row['baseline']}."
        if statistic == "crossover"
        else ""
    )
    return (
        f"Against {row['baseline']} ({statistic}): **{row['verdict']}**, {row['difference']:.3g}{unit}, 95 % interval "
        f"{row['low']:.3g} to {row['high']:.3g} over {row['seeds']} seeds; the smallest effect worth having is "
        f"{row['minimum_effect']:g}{unit}.{meaning} {_beside(row, now)}Commit {row['commit']}, {row['date'][:10]}."
    )


def _beside(row: Row, now: PairedComparison | None) -> str:
    """The Holm-adjusted p, equal seconds, seeds wanted and remarks: those of the row, or derived from older rows."""
    if "adjusted_p" in row:
        facts = {key: row[key] for key in ("adjusted_p", "equal_seconds", "seeds_wanted", "notes")}
        samples = (row["samples_low"], row["samples_high"]) if row["samples_low"] is not None else None
    elif now is not None:
        facts = {"adjusted_p": now.adjusted, "equal_seconds": now.equal_seconds, "seeds_wanted": now.seeds_wanted}
        facts["notes"], samples = now.notes, now.samples and now.samples[1:]
    else:
        return ""
    said = [f"p {facts['adjusted_p']:.2g} after Holm's correction"]
    if samples is not None:
        said.append(f"over seeds and test samples {samples[0]:.3g} to {samples[1]:.3g}")
    if facts["equal_seconds"] is not None:
        said.append(f"{facts['equal_seconds']:+.3g} of the metric at equal seconds")
    if row["verdict"] == "inconclusive":
        wanted = facts["seeds_wanted"]
        said.append(f"about {wanted} seeds would settle it" if wanted else "no number of seeds up to 1000 settles it")
    said += facts["notes"]
    text = "; ".join(said)
    if now is not None and now.verdict != row["verdict"]:
        text += f". By the present rules, applied to the same rows: **{now.verdict}**"
    return f"{text[0].upper()}{text[1:]}. "


def _arms(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["arm"], []).append(row)
    return found


def curves(rows: Sequence[Row]) -> str:
    """The learning curves of a claim's arms as SVG: each seed thin, the mean over seeds thick."""
    points = [point for row in rows for point in row["config"]["curve"]]
    low, high = min(y for _, y in points), max(y for _, y in points)
    span = (high - low) or 1.0
    across, marks = _across(rows, sorted({x for x, _ in points}))

    def place(point: Sequence[float]) -> str:
        x = EDGE + across(point[0]) * (WIDTH - 2 * EDGE)
        return f"{x:.1f},{HEIGHT - EDGE - (point[1] - low) / span * (HEIGHT - 2 * EDGE):.1f}"

    def line(curve: Sequence[Sequence[float]], ink: str, style: str) -> str:
        return f'<polyline points="{" ".join(map(place, curve))}" fill="none" stroke="{ink}" {style}/>'

    drawn = []
    for number, (arm, each) in enumerate(_arms(rows).items()):
        ink = INKS[number % len(INKS)]
        seeds = [row["config"]["curve"] for row in each]
        drawn += [line(curve, ink, 'stroke-width="1" opacity="0.3"') for curve in seeds]
        average = [(xs[0][0], mean(y for _, y in xs)) for xs in zip(*seeds, strict=True)]
        drawn += [line(average, ink, 'stroke-width="2.5"'), _text(EDGE + 8, 20 + 16 * number, arm, ink)]
    levels = [low + span * part / 3 for part in range(4)]
    heights = [HEIGHT - EDGE - part / 3 * (HEIGHT - 2 * EDGE) for part in range(4)]
    columns = [EDGE + across(x) * (WIDTH - 2 * EDGE) for x in marks]
    grid = " ".join(
        [
            *(f"M{EDGE} {y:.1f} H{WIDTH - EDGE}" for y in heights),
            *(f"M{x:.1f} {EDGE} V{HEIGHT - EDGE}" for x in columns),
        ]
    )
    axes = [
        f'<path d="{grid}" fill="none" stroke="#ddd"/>',
        f'<path d="M{EDGE} {EDGE / 2} V{HEIGHT - EDGE} H{WIDTH - EDGE / 2}" fill="none" stroke="#555"/>',
        *(_text(4, y + 4, f"{value:.2f}") for y, value in zip(heights, levels, strict=True)),
        *(_text(x - 4, HEIGHT - EDGE + 18, f"{mark:,.0f}") for x, mark in zip(columns, marks, strict=True)),
        _text(WIDTH / 2 - EDGE, HEIGHT - 6, _axis(rows)),
    ]
    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {box}>'
    return "\n".join([head, f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>', *axes, *drawn, "</svg>"]) + "\n"


def _across(rows: Sequence[Row], xs: Sequence[float]) -> tuple[Callable[[float], float], Sequence[float]]:
    """Where on the axis a number lies, from 0 to 1, and which numbers stand below it. Images a class double from one
    point to the next, and so lie at equal distances."""
    if _axis(rows) == "images a class" and len(xs) > 1:
        return lambda x: math.log(x / xs[0]) / math.log(xs[-1] / xs[0]), xs
    return lambda x: x / xs[-1], tuple(xs[-1] * part / 3 for part in range(4))


def _text(x: float, y: float, words: str, ink: str = "#333") -> str:
    safe = words.replace("&", "&amp;").replace("<", "&lt;")
    return f'<text x="{x}" y="{y}" fill="{ink}">{safe}</text>'
