"""Claims in instalments and claims that try earlier ones again: no run twice, and nothing said before the last."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deixis.apps.claim import claim as app
from deixis.apps.claim.settings import ClaimSettings
from deixis.engine.claims import claims
from deixis.engine.claims.design import Design, require_other_seeds
from deixis.engine.claims.outcomes import TrialResult
from deixis.engine.claims.records import COST_KEYS, Ledger, append_rows, claim_hash
from deixis.engine.claims.trials import Trial
from deixis.engine.claims.units import Instalment
from deixis.errors import DeixisError
from deixis.files import write_json
from deixis.methods import list_methods, read
from deixis.types import Arm, Claim
from tests import toy_claims
from tests.commands import deixis


class Killed(BaseException):
    """As good as a kill, for one process."""


def small_claim(**changed: Any) -> Claim:
    rate = {"learning_rate": 0.1}
    arms = {"clean": Arm("line", rate), "noisy": Arm("line", rate, {"noise": 4.0})}
    return toy_claims.claim("final", **{"arms": arms, **changed})


class Runs:
    """Takes the place of training: counts the units that are run, and is killed in the middle of one.

    Args:
        killed_at: number of that unit; 0: none.
    """

    def __init__(self, killed_at: int = 0) -> None:
        self.names: list[str] = []
        self._killed_at = killed_at

    def __call__(self, unit: Trial, folder: Path, lab: Any, commit: str) -> TrialResult:
        path = folder / f"{unit.name}.json"
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            return TrialResult(tuple(map(tuple, found["curve"])), found["seconds"], commit=found["commit"])
        if len(self.names) + 1 == self._killed_at:
            self._killed_at = 0
            raise Killed
        self.names.append(unit.name)
        end = round(0.9 + 0.01 * unit.seed - 0.3 * (unit.arm == "noisy"), 3)
        result = TrialResult(((0.0, 0.1), (160.0, end)), 1.0, commit=commit)
        folder.mkdir(parents=True, exist_ok=True)
        write_json(path, dataclasses.asdict(result))
        return result


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The command with toys for methods and numbers for training, in an empty repository."""
    made = Runs()
    monkeypatch.setattr(claims, "run_trial", lambda *arguments: made(*arguments))
    toy_claims.verb_with_toys(monkeypatch, SimpleNamespace(claims=(small_claim(),)), tmp_path)
    monkeypatch.setattr(Ledger, "commit", lambda self: "abc")
    monkeypatch.setattr(Ledger, "require", lambda self, paper, found: None)
    return made


def stop_after(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Lets each instalment start so many units."""
    monkeypatch.setattr(Instalment, "over", lambda self: self.__dict__.setdefault("left", [*range(count)]) == [])
    store = Instalment.store

    def storing(self: Any, unit: Trial, result: TrialResult) -> None:
        new = unit.name not in self.stored
        store(self, unit, result)
        if new and self.left:
            self.left.pop()

    monkeypatch.setattr(Instalment, "store", storing)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def test_a_claim_in_instalments_on_several_machines_runs_each_unit_once_and_says_nothing_before_the_last(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(monkeypatch, 4)
    for machine, done in (("one", 4), ("two", 8)):
        app.claim("line", ClaimSettings(folder=str(tmp_path / machine), minutes=100.0))
        said = capsys.readouterr().out
        assert f"{10 - done} runs of line are missing" in said
        assert "against noisy" not in said
        assert len(lines(tmp_path / "results" / "units.jsonl")) == done
        assert not (tmp_path / "results" / "claims.jsonl").exists()
    app.claim("line", ClaimSettings(folder=str(tmp_path / "three"), minutes=100.0))
    assert "against noisy, final: shown" in capsys.readouterr().out
    names = [row["name"] for row in lines(tmp_path / "results" / "units.jsonl")]
    assert sorted(names) == sorted(runs.names)
    assert len(set(names)) == 10
    rows = lines(tmp_path / "results" / "claims.jsonl")
    assert [row["value"] for row in rows if row["arm"] == "clean"] == [0.9, 0.91, 0.92, 0.93, 0.94]


def test_a_claim_that_is_killed_in_the_middle_of_a_unit_has_the_same_units_and_none_twice(
    runs: Runs, tmp_path: Path
) -> None:
    runs._killed_at = 4
    settings = ClaimSettings(folder=str(tmp_path / "runs"), minutes=100.0)
    with pytest.raises(Killed):
        app.claim("line", settings, quiet=True)
    before = [row["name"] for row in lines(tmp_path / "results" / "units.jsonl")]
    assert before == runs.names
    assert len(before) == 3
    app.claim("line", settings, quiet=True)
    assert [row["name"] for row in lines(tmp_path / "results" / "units.jsonl")] == runs.names
    assert len(set(runs.names)) == len(runs.names) == 10


def test_units_of_other_code_are_named_and_not_used_and_a_doubled_one_is_refused(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(monkeypatch, 4)
    app.claim("line", ClaimSettings(folder=str(tmp_path / "one"), minutes=100.0), quiet=True)
    changed = dataclasses.replace(toy_claims.LAB, around=lambda method, task: {"deixis.ops.maps": "new"})
    app.claim("line", ClaimSettings(folder=str(tmp_path / "two"), minutes=100.0), lab=changed)  # type: ignore[call-arg]
    said = capsys.readouterr().err
    assert "4 units in" in said
    assert "are of other code and not used: clean, seed 0 (test), of commit abc" in said
    assert len(set(runs.names)) == 8
    path = tmp_path / "results" / "units.jsonl"
    first = path.read_text(encoding="utf-8").splitlines(keepends=True)[0]
    with path.open("a", encoding="utf-8") as file:
        file.write(first)
    with pytest.raises(DeixisError, match=f"The unit {runs.names[0]} is in .* more than once"):
        app.claim("line", ClaimSettings(folder=str(tmp_path / "one"), minutes=100.0), quiet=True)


def test_of_a_paper_only_the_claims_that_have_no_rows_yet_are_tested_where_that_is_asked_for(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    app.claim("line", ClaimSettings(folder=str(tmp_path / "one")), quiet=True)
    more = small_claim(statement="Another.", options={"batch_size": 4})
    monkeypatch.setattr(app, "read", lambda name: SimpleNamespace(claims=(small_claim(), more)))
    first = list(runs.names)
    capsys.readouterr()
    app.claim("line", ClaimSettings(folder=str(tmp_path / "elsewhere"), missing=True))
    assert "1 claims are up to date, 1 are to be tested" in capsys.readouterr().err
    assert len(runs.names) == len(first) + 10
    verdicts = lines(tmp_path / "results" / "verdicts.jsonl")
    assert [row["claim"] for row in verdicts] == [small_claim().statement, "Another."]


@dataclasses.dataclass(frozen=True)
class Cut:
    """A setting that is more than a number."""

    low: float = 0.5


def test_a_unit_whose_setting_is_a_dataclass_is_stored(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = {
        name: Arm("line", {"learning_rate": Cut()}, {"noise": noise}) for name, noise in (("a", 0.0), ("noisy", 4.0))
    }
    monkeypatch.setattr(app, "read", lambda name: SimpleNamespace(claims=(small_claim(arms=arms),)))
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), minutes=100.0, record=True), quiet=True)
    assert lines(tmp_path / "results" / "units.jsonl")[0]["setting"]["learning_rate"] == {"low": 0.5}


def test_an_instalment_of_no_time_is_refused() -> None:
    assert "minutes is 0" in deixis("claim", "clip", "--minutes", "0", "--no-record").err


# --- claims that try earlier ones again -------------------------------------------------------------------------------


def test_a_claim_that_tries_another_again_reports_other_seeds(tmp_path: Path) -> None:
    again = small_claim(statement="Once more.", again=small_claim().statement, seeds=7, first_seed=5)
    assert list(Design("line", again, 7, lab=toy_claims.LAB).numbers) == [5, 6, 7, 8, 9, 10, 11]
    require_other_seeds("line", [small_claim(), again])
    for wrong, said in (
        ([again], "no claim before it says so"),
        ([small_claim(), dataclasses.replace(again, first_seed=4)], "with seeds 4 to 10, of which some were reported"),
    ):
        with pytest.raises(DeixisError, match=said):
            require_other_seeds("line", wrong)
    with pytest.raises(DeixisError, match="The first seed is -1"):
        Design("line", small_claim(first_seed=-1), lab=toy_claims.LAB)


def test_claims_that_there_are_name_their_cheap_rival_and_none_repeats_a_seed() -> None:
    claimed: Sequence[str] = [name for name in list_methods() if read(name).claims]
    for name in claimed:
        require_other_seeds(name, read(name).claims)
        assert all(each.cheap in list(each.arms)[1:] for each in read(name).claims)
    assert claimed


# --- what is left -----------------------------------------------------------------------------------------------------


def test_after_an_instalment_what_is_missing_is_listed_with_minutes(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_after(monkeypatch, 4)
    claim = small_claim()
    values = [("line", claim_hash(claim), arm, "test", 90.0, 3.0, "abc", "2026") for arm in claim.arms]
    append_rows(Ledger(tmp_path).cost, [dict(zip(COST_KEYS, each, strict=True)) for each in values], COST_KEYS)
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs"), minutes=100.0))
    said = capsys.readouterr()
    assert "10 runs are missing, about 15 minutes of one core" in said.err
    assert f"{claim.statement}\n  6 runs are missing, about 9 minutes of one core" in said.out


def test_a_claim_that_waits_for_a_model_is_named_and_not_run_and_neither_is_one_that_is_tried_again(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    again = small_claim(statement="Once more.", again=small_claim().statement, first_seed=5)
    waits = small_claim(statement="With another model.", options={"batch_size": 8, "model": "no-such-model"})
    monkeypatch.setattr(app, "read", lambda name: SimpleNamespace(claims=(small_claim(), again, waits)))
    app.claim("line", ClaimSettings(folder=str(tmp_path / "runs")))
    assert "With another model.\n  waits for the model 'no-such-model', which is not there" in capsys.readouterr().err
    assert {row["claim"] for row in lines(tmp_path / "results" / "claims.jsonl")} == {"Once more."}
