"""Claims with toys in place of methods: fair trials, seeds that are not mixed, work that is never lost."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis.engine.claims import claims
from deixis.engine.claims.design import LEAST_SEEDS, TUNING_SEED, Design
from deixis.engine.claims.outcomes import TrialResult, at_equal_seconds, result_of
from deixis.engine.claims.rows import claim_rows, trial_rows, verdict_rows
from deixis.engine.claims.source_code import passed_through
from deixis.engine.claims.subprocess_pool import run_in_subprocesses
from deixis.engine.claims.trials import THREADS, Trial, TrialBackend, cost, run_trial
from deixis.engine.claims.tuning import at_edge, best, first_trials, next_trials
from deixis.errors import DeixisError
from deixis.types import Arm
from tests import toy_claims

ROOT = Path(__file__).parents[3]


def design(**changed: Any) -> Design:
    statistic = changed.pop("statistic", "area")
    mine = {key: changed.pop(key) for key in ("seeds", "arms", "small", "commit", "lab") if key in changed}
    return Design("line", toy_claims.claim(statistic, **changed), **{"lab": toy_claims.LAB, **mine})


def noted(folder: Path, one: Design) -> tuple[claims.Run, list[Trial]]:
    """Runs units here, and lists them."""
    units: list[Trial] = []
    run = claims.here(folder, one)

    def noting(more: Any) -> list[TrialResult]:
        units.extend(more)
        return run(more)

    return noting, units


# --- a claim from beginning to end ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> tuple[Design, dict[str, Any], dict[str, Any], list[Trial]]:
    one = design()
    run, units = noted(tmp_path_factory.mktemp("claim"), one)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deixis.engine.claims.trials._WRITES", 1)
        tuned = claims.tune(one, run)
        return one, tuned, claims.report(one, tuned, run), units


def test_an_effect_that_is_there_is_shown(tried: Any) -> None:
    one, _, outcomes, _ = tried
    [finding] = claims.compare_arms(one, outcomes).values()
    assert finding.verdict == "shown"
    assert finding.seeds == LEAST_SEEDS


def test_no_seed_that_chooses_settings_is_reported(tried: Any) -> None:
    _, _, _, units = tried
    tuning = {unit.seed for unit in units if unit.split == "validation"}
    reported = {unit.seed for unit in units if unit.split == "test"}
    assert (tuning, reported) == ({TUNING_SEED}, set(range(LEAST_SEEDS)))
    with pytest.raises(DeixisError, match="seeds are requested"):
        design(seeds=TUNING_SEED + 1)


def test_every_arm_sees_equal_images_and_seeds_and_tries_equally_many_settings(tried: Any) -> None:
    _, tuned, outcomes, units = tried
    assert len({len(each.tried) for each in tuned.values()}) == 1
    assert {each.curve[-1][0] for found in outcomes.values() for each in found} == {160}
    for arm in outcomes:
        assert [unit.seed for unit in units if unit.arm == arm and unit.split == "test"] == list(range(LEAST_SEEDS))


def test_settings_are_chosen_before_the_test_part_is_seen(tried: Any) -> None:
    splits = [unit.split for unit in tried[3]]
    assert splits == sorted(splits, reverse=True)


def test_rows_have_the_fixed_keys_and_hold_all_that_a_verdict_rests_on(tried: Any) -> None:
    one, tuned, outcomes, _ = tried
    rows = claim_rows(one, tuned, outcomes)
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    assert f"| `results/claims.jsonl` | `{' '.join(rows[0])}` |" in text
    verdicts = verdict_rows(one, claims.compare_arms(one, outcomes))
    assert f"| `results/verdicts.jsonl` | `{' '.join(verdicts[0])}` |" in text
    trials = trial_rows(one, tuned)
    assert f"| `results/trials.jsonl` | `{' '.join(trials[0])}` |" in text
    assert len(trials) == sum(len(each.tried) for each in tuned.values())
    assert len(rows) == 2 * LEAST_SEEDS
    assert rows[0]["config"]["settings"] == tuned["clean"].setting
    again = {arm: [result_of(row) for row in rows if row["arm"] == arm] for arm in tuned}
    first, second = (claims.compare_arms(one, each)["noisy"] for each in (again, outcomes))
    assert dataclasses.replace(first, equal_seconds=second.equal_seconds) == second, "seconds are rounded"
    json.dumps([rows, verdicts, trials], allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("statistic", ["final", "crossover", "ratio"])
def test_other_statistics_come_to_a_verdict_too(statistic: str, tmp_path: Path) -> None:
    one = design(statistic=statistic, seeds=3, arms=(), small=False)
    one = dataclasses.replace(one, claim=dataclasses.replace(one.claim, arms=without_grids(one)))
    run = claims.here(tmp_path, one)
    tuned = claims.tune(one, run)
    [finding] = claims.compare_arms(one, claims.report(one, tuned, run)).values()
    assert finding.ratio == (statistic == "ratio")
    assert math.isfinite(finding.interval.value)


def without_grids(one: Design) -> dict[str, Arm]:
    arms = one.claim.arms.items()
    return {name: dataclasses.replace(arm, overrides={"learning_rate": 0.1}, grid={}) for name, arm in arms}


def test_at_equal_seconds_a_slow_arm_is_seen_earlier() -> None:
    quick, slow = (TrialResult(((0.0, 0.0), (100.0, 1.0)), seconds) for seconds in (10.0, 40.0))
    assert at_equal_seconds({"quick": [quick], "slow": [slow]}) == {"quick": [1.0], "slow": [0.25]}


def test_a_small_look_and_a_look_at_some_arms_are_not_whole() -> None:
    assert design().whole
    assert not design(small=True).whole
    assert not design(arms=("clean",)).whole
    assert not design(seeds=4).whole
    assert design(small=True).unit("clean", {}, 0, "test").budget == 8
    with pytest.raises(DeixisError, match="no arm 'nobody'"):
        design(arms=("nobody",))


def test_an_arm_may_be_measured_in_a_way_of_its_own() -> None:
    """As where one trained method is asked in three ways."""
    clean = toy_claims.claim().arms["clean"]
    arms = {"clean": clean, "asked": dataclasses.replace(clean, metric="other")}
    one = Design("line", toy_claims.claim(arms=arms), lab=toy_claims.LAB)
    units = {arm: one.unit(arm, {"learning_rate": 0.1}, 0, "test") for arm in one.chosen}
    assert {arm: unit.metric for arm, unit in units.items()} == {"clean": "fit", "asked": "other"}
    outcomes = {arm: [TrialResult(((0.0, 0.0), (1.0, 1.0)), 1.0)] for arm in units}
    rows = claim_rows(one, {arm: claims.TunedArm({"learning_rate": 0.1}) for arm in units}, outcomes)
    assert {row["arm"]: row["metric"] for row in rows} == {"clean": "fit", "asked": "other"}


@pytest.mark.slow
def test_a_second_claim_about_the_same_training_reads_it_and_chooses_nothing(tmp_path: Path) -> None:
    first = design(statistic="final", seeds=2)
    tuned = {arm: claims.TunedArm({"learning_rate": rate}) for arm, rate in (("clean", 0.1), ("noisy", 0.05))}
    trained = claims.report(first, tuned, claims.here(tmp_path, first))
    arms = {f"asked {arm}": dataclasses.replace(each, grid={}) for arm, each in first.claim.arms.items()}
    other = design(statistic="final", seeds=2, metric="other", primary=False)
    other = dataclasses.replace(other, claim=dataclasses.replace(other.claim, arms=arms, cheap="asked noisy"))
    assert claims.shared_runs(other, first) == {"asked clean": "clean", "asked noisy": "noisy"}
    other = dataclasses.replace(claims.reuse_tuning(other, first, tuned), lab=unable_to_train(first.lab))
    chosen = claims.tune(other, never)
    assert chosen["asked noisy"].setting == {"learning_rate": 0.05}
    read = claims.report(other, chosen, claims.here(tmp_path, other))
    for arm, found in trained.items():
        ends = [(each.curve[0], each.curve[-1]) for each in found]
        assert [each.curve for each in read[f"asked {arm}"]] == ends
        assert [each.seconds for each in read[f"asked {arm}"]] == [each.seconds for each in found]


def unable_to_train(lab: TrialBackend) -> TrialBackend:
    return dataclasses.replace(lab, collate=never)


def test_settings_may_be_chosen_on_a_share_of_the_budget() -> None:
    one = design(trial=0.5)
    budgets = [one.unit("clean", {}, 0, split).budget for split in ("validation", "test")]  # type: ignore[arg-type]
    assert budgets == [80, 160]


def test_a_claim_that_can_not_be_tried_is_refused_at_once() -> None:
    with pytest.raises(DeixisError, match="has one arm"):
        Design("line", toy_claims.claim(arms={"clean": Arm("line")}), lab=toy_claims.LAB)
    with pytest.raises(DeixisError, match="smallest effect worth having is 0"):
        design(minimum_effect=0.0)
    with pytest.raises(DeixisError, match="smallest effect worth having is 1"):
        design(statistic="ratio", minimum_effect=1.0)


# --- settings ---------------------------------------------------------------------------------------------------------


def test_all_combinations_are_tried() -> None:
    trials = first_trials(
        {"one": {"a": (1, 2), "b": ("x", "y")}, "other": {"c": (1, 2, 3, 4)}, "third": {"a": (1, 2, 3, 5)}}
    )
    assert trials["one"] == [{"a": 1, "b": "x"}, {"a": 1, "b": "y"}, {"a": 2, "b": "x"}, {"a": 2, "b": "y"}]
    assert first_trials({"as it is": {}}) == {"as it is": [{}]}


def test_unequal_numbers_of_trials_are_refused() -> None:
    with pytest.raises(DeixisError, match="unequal numbers of settings: one 2, other 3"):
        first_trials({"one": {"a": (1, 2)}, "other": {"a": (1, 2, 3)}})
    with pytest.raises(DeixisError, match="different values"):
        first_trials({"one": {"a": (1, 1)}})


def along(values: dict[float, float | None]) -> list[tuple[dict[str, Any], float | None]]:
    return [({"rate": rate}, value) for rate, value in values.items()]


def test_the_best_at_an_edge_widens_the_grid_in_its_own_ratio() -> None:
    rising, falling = along({0.01: 1.0, 0.1: 2.0, 1.0: 3.0}), along({0.02: 3.0, 0.1: 2.0, 0.5: 1.0})
    assert (at_edge(rising), at_edge(falling)) == (["rate"], ["rate"])
    assert next_trials({"up": rising, "down": falling}) == {"up": [{"rate": 10.0}], "down": [{"rate": 0.004}]}


def test_an_arm_that_is_not_at_an_edge_looks_nearer_instead_so_that_all_try_equally_many() -> None:
    rising, inside = along({0.01: 1.0, 0.1: 2.0, 1.0: 3.0}), along({1.0: 1.0, 4.0: 2.0, 16.0: 1.5})
    assert next_trials({"up": rising, "in": inside}) == {"up": [{"rate": 10.0}], "in": [{"rate": 2.0}]}
    assert next_trials({"in": inside, "too": inside}) == {"in": [], "too": []}


def test_whole_numbers_stay_whole_and_zero_is_passed_in_steps() -> None:
    assert next_trials({"one": along({8: 1.0, 16: 2.0})}) == {"one": [{"rate": 32}]}
    counts = next_trials({"one": along({1: 2.0, 4: 1.0})})["one"]
    assert all(each["rate"] >= 1 for each in counts), "what is counted from 1 on is never none"
    assert next_trials({"one": along({0.0: 1.0, 0.1: 2.0})}) == {"one": [{"rate": 0.2}]}


def test_words_and_switches_have_no_edge() -> None:
    tried: Any = [({"kind": "a", "on": True}, 1.0), ({"kind": "b", "on": False}, 2.0)]
    assert at_edge(tried) == []
    assert best(tried) == {"kind": "b", "on": False}


def test_a_setting_that_fails_is_never_the_best() -> None:
    assert best(along({0.1: -5.0, 100.0: None})) == {"rate": 0.1}
    with pytest.raises(DeixisError, match="failed with all 1 settings"):
        best(along({100.0: None}))


@pytest.mark.slow
def test_a_grid_is_widened_twice_at_the_most_and_it_is_said_that_the_best_is_still_at_its_edge(tmp_path: Path) -> None:
    low = {"learning_rate": (1e-5, 2e-5)}
    arms = {"clean": Arm("line", grid=low), "noisy": Arm("line", data={"noise": 4.0}, grid=low)}
    one = Design("line", toy_claims.claim(arms=arms), lab=toy_claims.LAB)
    tuned = claims.tune(one, claims.here(tmp_path, one))
    assert [setting["learning_rate"] for setting, _ in tuned["clean"].tried] == [1e-5, 2e-5, 4e-5, 8e-5]
    assert tuned["clean"].edges == ("learning_rate",)


@pytest.mark.slow
def test_training_that_fails_is_a_trial_that_lost_and_an_error_where_all_do(tmp_path: Path) -> None:
    def with_rates(*rates: float) -> Design:
        arms = {name: Arm("line", grid={"learning_rate": rates}) for name in ("clean", "noisy")}
        return Design("line", toy_claims.claim(arms=arms), lab=toy_claims.LAB)

    one = with_rates(0.1, 0.2, 99.0)
    tuned = claims.tune(one, claims.here(tmp_path, one))
    assert tuned["clean"].setting["learning_rate"] < 1
    assert ({"learning_rate": 99.0}, None) in tuned["clean"].tried
    one = with_rates(50.0, 99.0)
    with pytest.raises(DeixisError, match=r"'clean' failed with all 2 settings.*not a finite number"):
        claims.tune(one, claims.here(tmp_path, one))
    with pytest.raises(DeixisError, match="failed with seed 3"):
        run_trial(one.unit("clean", {"learning_rate": 99.0}, 3, "test"), tmp_path, one.lab)


# --- one unit ---------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """As good as a kill, for one process."""


def test_a_unit_that_was_killed_ends_with_the_same_curve(tmp_path: Path) -> None:
    one = design()
    unit = one.unit("clean", {"learning_rate": 0.1}, 3, "test")
    whole = run_trial(unit, tmp_path / "whole", one.lab)
    assert [images for images, _ in whole.curve] == [16 * i for i in range(11)]
    calls = 0

    def dying(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (2, 6):
            raise Killed
        return toy_claims.measure(*arguments)

    lab = dataclasses.replace(one.lab, measure=dying)
    for _ in range(2):
        with pytest.raises(Killed):
            run_trial(unit, tmp_path / "killed", lab)
    assert run_trial(unit, tmp_path / "killed", lab).curve == whole.curve
    assert {path.name for path in (tmp_path / "killed").iterdir()} == {f"{unit.name}.json", "trained"}


def never(*_: Any) -> Any:
    raise AssertionError


def test_a_unit_that_is_done_is_not_done_again(tmp_path: Path) -> None:
    one = design()
    unit = one.unit("clean", {"learning_rate": 0.1}, 3, "test")
    first = run_trial(unit, tmp_path, one.lab, "abc")
    assert run_trial(unit, tmp_path, dataclasses.replace(one.lab, task=never)) == first
    assert first.commit == "abc"


def test_whatever_changes_a_unit_changes_its_name() -> None:
    one = design()
    unit = one.unit("clean", {"learning_rate": 0.1}, 3, "test")
    for field, value in (("settings", {}), ("seed", 4), ("split", "validation"), ("budget", 8), ("code", "x")):
        assert dataclasses.replace(unit, **{field: value}).name != unit.name  # type: ignore[arg-type]
    assert design(commit="abc+changes").unit("clean", {"learning_rate": 0.1}, 3, "test").name != unit.name
    assert design(commit="abc").unit("clean", {"learning_rate": 0.1}, 3, "test").name == unit.name


def test_a_unit_and_its_rows_belong_to_the_code_that_they_pass_through_too() -> None:
    """The task, the measures, the ops, the networks and the few-shot engine, beside the method."""
    one, other = (
        design(lab=dataclasses.replace(toy_claims.LAB, around=lambda method, task, n=number: {"ops": n}))
        for number in ("1", "2")
    )
    assert one.codes == {"line": "the code of line", "ops": "1"}
    assert one.inputs != other.inputs
    assert one.unit("clean", {}, 0, "test").name != other.unit("clean", {}, 0, "test").name
    found = passed_through("srmap", "explained")
    assert {"deixis.ops.maps", "deixis.engine.claims.tasks.explained", "deixis.engine.evaluation.saliency"} <= set(
        found
    )
    assert "deixis.engine.claims.tasks.scenes" not in found
    assert {"deixis.nn.dual", "deixis.nn.vision.plain_cnn", "deixis.nn.relevance.rules"} <= set(found)
    learned = set(passed_through("pre", "few_shot"))
    assert {"deixis.engine.fewshot.few_shot", "deixis.nn.adaptation.prompts", "deixis.nn.language.bert"} <= learned
    assert "deixis.nn.adaptation.lora" in passed_through("filip", "scenes"), (
        "what the method of which it is a change uses"
    )


def test_units_compute_on_one_thread_whatever_the_machine_has(tmp_path: Path) -> None:
    before, seen = torch.get_num_threads(), set[int]()

    def measure(*arguments: Any) -> Any:
        seen.add(torch.get_num_threads())
        return toy_claims.measure(*arguments)

    one = design(lab=dataclasses.replace(toy_claims.LAB, measure=measure))
    torch.set_num_threads(2)
    try:
        run_trial(one.unit("clean", {"learning_rate": 0.1}, 3, "test"), tmp_path, one.lab)
        assert (seen, torch.get_num_threads()) == ({THREADS}, 2)
    finally:
        torch.set_num_threads(before)


def test_measuring_more_often_does_not_change_what_is_learned(tmp_path: Path) -> None:
    one = design()
    unit = one.unit("clean", {"learning_rate": 0.1}, 3, "test")
    often, seldom = (run_trial(dataclasses.replace(unit, points=n), tmp_path, one.lab) for n in (11, 2))
    assert often.curve[-1] == seldom.curve[-1]


def test_a_unit_that_stops_early_has_a_curve_that_stays_flat_and_takes_part_of_the_time(tmp_path: Path) -> None:
    """So that arms that were stopped can be compared at equal images."""
    arms = {"clean": Arm("line", grid={"data.stop": (0.5, 1.0)}), "noisy": Arm("line", grid={"data.stop": (0.5, 1.0)})}

    def stopped(name: str, options: Any, seed: int) -> Any:
        made = toy_claims.task(name, {"batch_size": options["batch_size"]}, seed)
        return dataclasses.replace(made, share=options["stop"])

    lab = dataclasses.replace(toy_claims.LAB, task=stopped)
    one = Design("line", toy_claims.claim("final", arms=arms), lab=lab)
    half, whole = ({"learning_rate": 0.1, "data.stop": share} for share in (0.5, 1.0))
    early, late = (run_trial(one.unit("clean", each, 3, "test"), tmp_path, one.lab) for each in (half, whole))
    assert early.curve[-1][0] == late.curve[-1][0] == 160
    assert early.curve[-1][1] == early.curve[-2][1]
    assert early.curve[-2][0] == 80
    assert early.curve[-1][1] != late.curve[-1][1]
    assert one.unit("clean", half, 3, "test").settings == {"learning_rate": 0.1}
    assert one.unit("clean", half, 3, "test").options == {"batch_size": 8, "stop": 0.5}
    row = {"arm": "clean", "config": {"settings": {"learning_rate": 0.1}, "options": {"batch_size": 8, "stop": 0.5}}}
    found = claims.stored_settings(dataclasses.replace(one, arms=("clean",)), [row])
    assert found["clean"].setting == {"data.stop": 0.5}


def test_a_budget_too_small_for_its_curve_is_refused(tmp_path: Path) -> None:
    one = design(budget=24)
    with pytest.raises(DeixisError, match="24 images in batches of 8 are 3 steps"):
        run_trial(one.unit("clean", {"learning_rate": 0.1}, 0, "test"), tmp_path, one.lab)


def test_what_a_unit_takes_is_measured_once(tmp_path: Path) -> None:
    one = design()
    unit = one.unit("clean", {"learning_rate": 0.1}, 0, "validation")
    found = cost(unit, tmp_path, one.lab)
    assert found.seconds > 0
    assert cost(unit, tmp_path, dataclasses.replace(one.lab, measure=never)) == found


# --- processes --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_give_what_one_process_gives_and_their_errors_arrive(tmp_path: Path) -> None:
    one = design(seeds=2, small=False)
    one = dataclasses.replace(one, claim=dataclasses.replace(one.claim, arms=without_grids(one)))
    done: list[int] = []
    apart_run = claims.in_processes(tmp_path / "apart", one, 2, lambda: done.append(1))
    tuned = claims.tune(one, apart_run)
    found = claims.report(one, tuned, apart_run)
    together = claims.report(one, tuned, claims.here(tmp_path / "here", one))
    assert len(done) == 4
    assert {a: [x.curve for x in each] for a, each in found.items()} == {
        a: [x.curve for x in each] for a, each in together.items()
    }
    wrong = dataclasses.replace(one, claim=dataclasses.replace(one.claim, data="nowhere"))
    with pytest.raises(DeixisError, match="There is no task 'nowhere'"):
        claims.report(wrong, tuned, claims.in_processes(tmp_path / "apart", wrong, 2))


@pytest.mark.slow
def test_a_process_that_dies_is_an_error_with_its_cure() -> None:
    with pytest.raises(DeixisError, match="ended with the code 7") as caught:
        run_in_subprocesses([_die])
    assert "Run the same command to resume" in str(caught.value)


def _die() -> None:
    os._exit(7)


@pytest.mark.slow
def test_a_claim_that_was_killed_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.toy_claims", str(tmp_path / "killed")]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)

    process = start()
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").glob("*[0-9a-f].json")}
    assert len(before) >= 3
    deadline = time.monotonic() + 30
    while children(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not children(tmp_path), "what the killed run had started ends by itself"
    again = start()
    said = again.communicate()[0]
    assert again.returncode == 0
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed").iterdir()}
    assert {name: after[name] for name in before} == before, "finished units are not done again"
    assert said.count("done") <= len(after) - len(before)
    one = toy_claims.short()
    run = claims.here(tmp_path / "killed", one)
    tuned = claims.tune(one, run)
    found, whole = claims.report(one, tuned, run), claims.report(one, tuned, claims.here(tmp_path / "whole", one))
    assert {a: [x.curve for x in each] for a, each in found.items()} == {
        a: [x.curve for x in each] for a, each in whole.items()
    }


def children(folder: Path) -> list[str]:
    """Spawned processes that lost the parent which started them here."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            spawned = b"multiprocessing" in (place / "cmdline").read_bytes()
            orphan = "PPid:\t1\n" in (place / "status").read_text(encoding="utf-8")
            if spawned and orphan and os.readlink(place / "cwd") == str(ROOT):
                found.append(place.name)
        except OSError:
            continue
    return found


def test_files_of_trials_keep_the_names_they_had_when_a_task_was_called_arena() -> None:
    facts = {"paper": "p", "claim": "c", "arm": "an arm", "method": "clip", "settings": {"x": 1}, "task": "scenes"}
    more = {"options": {"cast": "stamps"}, "metric": "recall_at_1", "budget": 10, "seed": 0, "split": "test"}
    trial = Trial(**facts, **more, points=2, code="z")  # type: ignore[arg-type]
    assert (trial.name, trial.training) == ("an_arm-test-0-fcd8b5329120", "1dbda4843bbc34e0")
