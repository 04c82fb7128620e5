"""`deixis claim`: tries what a paper says, by the same rules for all arms, and keeps what came out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from deixis.apps.claim.settings import ClaimSettings
from deixis.apps.common.console import Reporter
from deixis.engine.claims import claims
from deixis.engine.claims.claims import Run, TunedArm
from deixis.engine.claims.design import Design, require_other_seeds
from deixis.engine.claims.outcomes import TrialResult, at_equal_seconds, before
from deixis.engine.claims.pending import PendingClaim, fresh_rows, missing_model, pending, up_to_date
from deixis.engine.claims.records import Ledger, claim_hash, repository
from deixis.engine.claims.rows import claim_rows, trial_rows, verdict_rows
from deixis.engine.claims.source_code import changed_code
from deixis.engine.claims.trials import BACKEND, TrialBackend
from deixis.engine.claims.units import Instalment, restore
from deixis.engine.claims.verdicts import PairedComparison, overall
from deixis.errors import DeixisError
from deixis.files import atomic_path, clear_partial, explained
from deixis.methods import list_methods, read
from deixis.types import Claim

__all__ = ["claim"]


def claim(
    name: str, settings: ClaimSettings, *, everything: bool = False, quiet: bool = False, lab: TrialBackend = BACKEND
) -> None:
    """Tries all claims of a paper, or of all papers those whose inputs changed.

    Args:
        name: of the method; empty with `everything`.
        settings: how.
        everything: all papers.
        quiet: say nothing but results.
        lab: what units are run with; tests give toys.

    Raises:
        DeixisError: no such method or claim, or the rows could not be recorded (see `Ledger.require`); raised before
            the first step.
    """
    if bool(name) == everything:
        raise DeixisError("Either a method or --all is required, not both.", "Give the name of a method, or --all.")
    talk, root = Reporter(quiet), repository(Path(__file__))
    ledger = Ledger(root) if root is not None else None
    names = [each for each in list_methods() if read(each).claims] if everything else [name]
    every = [design for each in names for design in _designs(each, settings, ledger, lab)]
    designs, chosen = _to_run(every, ledger, everything or settings.missing, talk)
    keep, jobs, folder = _keeper(designs, settings, ledger, talk), settings.jobs or os.cpu_count() or 1, settings.folder
    share = _share(designs, settings, ledger if keep is not None else None, talk)
    try:
        with explained(Path(folder), "--folder"):
            _tell_costs(designs, (Path(folder), jobs), ledger, talk)
            for design in designs:
                design, place = _led(design, chosen), Path(folder, design.paper)
                clear_partial(place)
                chosen.append((design, _try(design, place, (jobs, share), talk, keep)))
    except claims.OutOfTime as rest:
        talk.result(
            f"Stopped after {settings.minutes:g} minutes. {rest.missing} runs of {design.paper} are missing, and "
            "nothing follows from those that are done. Run the same command again, here or on another machine."
        )
        _tell_missing(designs, ledger, talk)


Chosen = list[tuple[Design, Mapping[str, TunedArm]]]
"""Claims with the settings that were chosen for their arms."""


def _to_run(
    every: Sequence[Design], ledger: Ledger | None, missing: bool, talk: Reporter
) -> tuple[list[Design], Chosen]:
    """The claims that are run, with `missing` those that are not up to date, in the best order, and of the others what
    was chosen when they were."""
    again = {(one.paper, one.claim.again) for one in every}
    waiting = {one.claim.statement: model for one in every if (model := missing_model(one.claim))}
    for statement, model in waiting.items():
        talk.say(f"{statement}\n  waits for the model {model!r}, which is not there")
    rest = [
        one for one in every if one.claim.statement not in waiting and (one.paper, one.claim.statement) not in again
    ]
    if ledger is None:
        return rest, []
    done = [one for one in every if one not in rest]
    if missing:
        fresh = [one for one in rest if up_to_date(one.code, ledger)]
        rest, done = [one for one in rest if one not in fresh], [*done, *fresh]
        for design in rest:
            _say_stale(design, ledger, talk)
        tried = len(every) - len(rest) - len(fresh) - len(waiting)
        later = f" {tried} more are tried again by later ones." if tried else ""
        talk.say(f"{len(fresh)} claims are up to date, {len(rest)} are to be tested.{later}")
    order = [(each.paper, each.claim) for each in pending([one.code for one in every], ledger)]
    rest.sort(key=lambda one: order.index((one.paper, one.claim)) if (one.paper, one.claim) in order else -1)
    return rest, [(one, found) for one in done if (found := _chosen_before(one, ledger))]


def _chosen_before(design: Design, ledger: Ledger) -> dict[str, TunedArm]:
    """What was chosen for the arms when the latest rows were added; nothing where some have none."""
    rows = ledger.rows(design.paper, claim_hash(design.claim))
    latest = [row for row in rows if row["config"]["inputs"] == rows[-1]["config"]["inputs"]]
    return claims.stored_settings(design, latest) if {row["arm"] for row in latest} >= set(design.chosen) else {}


def _led(design: Design, chosen: Chosen) -> Design:
    """With the settings of the earlier claim that trains the same, if there is one."""
    ahead = [each for each in chosen if each[0].paper == design.paper and claims.shared_runs(design, each[0])]
    return claims.reuse_tuning(design, *ahead[0]) if ahead else design


def _share(
    designs: Sequence[Design], settings: ClaimSettings, ledger: Ledger | None, talk: Reporter
) -> Instalment | None:
    """The instalment that is run, None for all of the work; what other machines finished is read in either case."""
    share = Instalment(settings.minutes, ledger) if settings.minutes is not None else None
    if ledger is not None:
        refused = restore(ledger, designs, Path(settings.folder))
        if refused:
            listed = "; ".join(refused[:5]) + "; ..." * (len(refused) > 5)
            talk.say(f"{len(refused)} units in {ledger.units} are of other code and not used: {listed}")
    return share


def _designs(name: str, settings: ClaimSettings, ledger: Ledger | None, lab: TrialBackend) -> list[Design]:
    found = read(name).claims
    if not found:
        raise DeixisError(f"{name} has no claim.", "`deixis claim --all` tests all that exist.")
    commit = ledger.commit() if ledger is not None else ""
    require_other_seeds(name, found)
    designs = [Design(name, each, _seeds(each, settings), settings.arm, settings.small, commit, lab) for each in found]
    for design in designs:
        claims.needed(design)  # refuses unequal grids before hours are spent
    return designs


def _seeds(claim: Claim, settings: ClaimSettings) -> int:
    return 2 if settings.small else claim.seeds or settings.seeds


def _say_stale(design: Design, ledger: Ledger, talk: Reporter) -> None:
    """Says which code changed since the last rows of a claim, where there are some and they no longer hold."""
    rows, codes = ledger.rows(design.paper, claim_hash(design.claim)), design.codes
    fresh = fresh_rows(design.code, ledger)
    if not rows or any(row["config"]["inputs"] == rows[-1]["config"]["inputs"] for row in fresh):
        return
    before = rows[-1]["config"].get("codes", {})
    reason = ", ".join(changed_code(before, codes)) if before else "a method's; these rows name no other code"
    talk.say(f"{design.paper}: the rows of {rows[-1]['date'][:10]} are stale, since code changed: {reason}")


Rows = Sequence[dict[str, Any]]
Keep = Callable[[Rows, Rows, Rows, Design], None]


def _keeper(designs: Sequence[Design], settings: ClaimSettings, ledger: Ledger | None, talk: Reporter) -> Keep | None:
    """What adds rows to the results; None, with the reason said, where they stay in the run folder."""
    if not settings.record or not all(design.whole for design in designs):
        talk.say("Rows stay in the run folder: this is a quick look, not a full test.")
        return None
    if ledger is None:
        talk.say("Rows stay in the run folder: deixis is not in a git repository here.")
        return None
    for design in designs:
        ledger.require(design.paper, read(design.paper).claims)

    def keep(rows: Rows, verdicts: Rows, trials: Rows, design: Design) -> None:
        ledger.require(design.paper, read(design.paper).claims)
        with explained(ledger.claims, "copy of the repository"):
            ledger.add(rows, verdicts, trials)
        talk.say(f"Rows were added to {ledger.claims}, {ledger.verdicts} and {ledger.trials}.")

    return keep


def _tell_costs(designs: Sequence[Design], where: tuple[Path, int], ledger: Ledger | None, talk: Reporter) -> None:
    """Says what all of it will take: from rows, else from a few measured steps of each arm."""
    total = busy = 0.0
    folder, jobs = where
    for place, design in enumerate(designs):
        talk.say(f"{design.paper}: {design.claim.statement}")
        found = pending([design.code], ledger) if design.whole and ledger is not None else []
        if found and found[0].minutes is not None:
            busy, total = busy + 60 * found[0].minutes, total + 60 * found[0].minutes
            talk.say(f"  {_missing(found[0])}")
            continue
        read = {arm for first in designs[:place] for arm in claims.shared_runs(design, first)}
        if read:
            talk.say(f"  read from the models trained for an earlier claim: {', '.join(sorted(read))}")
        if read == set(design.chosen):
            continue
        costs = claims.pilot(design, folder / design.paper, jobs)
        runs = {arm: each for arm, each in claims.needed(design).items() if arm not in read}
        seconds = {arm: costs[arm].seconds * sum(runs[arm]) for arm in runs}
        busy += sum(seconds[arm] * costs[arm].cores for arm in runs)
        total += sum(seconds.values())
        for arm, (trials, seeds) in runs.items():
            talk.say(
                f"  {arm}: {trials} trials and {seeds} seeds, {costs[arm].seconds / 60:.1f} minutes each, "
                f"{seconds[arm] / 3600:.2f} hours"
            )
    talk.say(
        f"In all {busy / 3600:.2f} CPU hours, some {total / 3600 / jobs:.2f} hours on this machine, less what is done "
        "already; trials beyond the edge of a grid come on top."
    )


def _missing(each: PendingClaim) -> str:
    minutes = f"about {each.minutes:.0f} minutes of one core" if each.minutes is not None else "not yet measured"
    return f"{each.runs} runs are missing, {minutes}"


def _tell_missing(designs: Sequence[Design], ledger: Ledger | None, talk: Reporter) -> None:
    """Lists the runs that are missing after an instalment."""
    for each in pending([one.code for one in designs], ledger) if ledger is not None else []:
        talk.result(f"{each.paper}: {each.claim.statement}\n  {_missing(each)}")


Workers = tuple[int, Instalment | None]
"""How many runs at a time, and for how long."""


def _try(design: Design, place: Path, workers: Workers, talk: Reporter, keep: Keep | None) -> dict[str, TunedArm]:
    """One claim, from the first trial to its rows; what was chosen for its arms."""
    with talk.bar(f"{design.paper}, choosing settings") as bar:
        run = _counted(place, design, workers, bar, sum(trials for trials, _ in claims.needed(design).values()))
        tuned = claims.tune(design, run)
    for arm, each in tuned.items():
        talk.say(_choice(arm, each))
    with talk.bar(f"{design.paper}, reporting") as bar:
        outcomes = claims.report(design, tuned, _counted(place, design, workers, bar, len(tuned) * design.seeds))
    found = claims.compare_arms(design, outcomes)
    _tell(design, outcomes, found, talk)
    rows, verdicts, trials = claim_rows(design, tuned, outcomes), verdict_rows(design, found), trial_rows(design, tuned)
    for name, each_row in (("claims", rows), ("verdicts", verdicts), ("trials", trials)):
        with atomic_path(place / f"{name}-{claim_hash(design.claim)}.jsonl") as temporary:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in each_row)
            temporary.write_text(text, encoding="utf-8")
    if keep is not None:
        keep(rows, verdicts, trials, design)
    return tuned


def _counted(place: Path, design: Design, workers: Workers, bar: Callable[[int, int], None], total: int) -> Run:
    done = [0]

    def on_done() -> None:
        done[0] += 1
        bar(done[0], max(total, done[0]))

    jobs, share = workers
    return claims.in_processes(place, design, jobs, on_done, share)


def _choice(arm: str, tuned: TunedArm) -> str:
    """What was chosen for an arm, in words."""
    if not tuned.tried:
        return f"{arm}: default settings, nothing to tune"
    setting = ", ".join(f"{key} {value}" for key, value in tuned.setting.items()) or "as it stands"
    failed = sum(value is None for _, value in tuned.tried)
    if len({str(each) for each in tuned.own.values()}) > 1:
        setting = f"{setting} with the first seed, others with others"
    text = f"{arm}: {setting}, the best of {len(tuned.tried)} trials" + (
        f", {failed} of which failed" if failed else ""
    )
    return text + (f"; {', '.join(tuned.edges)} still at the edge of what was tried" if tuned.edges else "")


def _tell(
    design: Design, outcomes: Mapping[str, Sequence[TrialResult]], found: Mapping[str, PairedComparison], talk: Reporter
) -> None:
    """The table of arms, and a sentence a baseline."""
    equal = at_equal_seconds(outcomes) if not design.axis else {}
    rows = [
        (
            arm,
            _level(before(outcomes[arm])),
            _level(outcomes[arm][0].chance),
            _spread([each.curve[-1][1] for each in outcomes[arm]]),
            _spread(equal[arm]) if arm in equal else "",
            f"{mean(each.seconds for each in outcomes[arm]):.0f}",
        )
        for arm in outcomes
    ]
    images = next(iter(outcomes.values()))[0].curve[-1][0]
    there = f"with {images:.0f} {design.axis}" if design.axis else f"after {images:.0f} images"
    head = ("arm", "before", "chance", f"{design.claim.metric} {there}", "at equal seconds" if equal else "", "seconds")
    talk.table(f"{design.paper}: {design.claim.statement}", head, rows)
    for baseline, finding in found.items():
        talk.result(f"against {baseline}, {design.claim.statistic}: {finding.sentence()}")
    if len(found) > 1:
        talk.result(f"in all: {overall([each.verdict for each in found.values()])}")


def _level(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.3f} ± {stdev(values):.3f}"
