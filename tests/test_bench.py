"""Rows of races: fixed keys, fair order, and a ratio that says what it is read as."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.rows import KEYS, RESULTS, Timings, alternate, append_row, environment, make_row
from bench.startup import CASES, stopwatch

CASE = {"race": "startup", "case": "help", "peer": "open_clip", "peer_version": "3.0"}
PLACE = {"threads": 1, "cpu": "a cpu", "commit": "", "date": "2026-01-01T00:00:00+00:00"}


def row(ours: list[float], theirs: list[float], unit: str) -> dict[str, Any]:
    return make_row(CASE, Timings(ours, theirs), unit=unit, equal=None, surroundings=PLACE)


def test_sides_are_measured_in_turn_after_a_warm_up() -> None:
    calls: list[str] = []
    times = iter(range(100))

    def side(name: str) -> float:
        calls.append(name)
        return next(times)

    timings = alternate(lambda: side("a"), lambda: side("b"), repeats=3, warmup=1)
    assert "".join(calls) == "abababab"
    assert timings == Timings((2, 4, 6), (3, 5, 7))


@pytest.mark.parametrize("unit", ["s", "MB"])
def test_of_a_cost_less_is_better(unit: str) -> None:
    assert row([1.0, 2.0, 3.0], [4.0, 4.0, 3.0], unit)["ratio"] == 2.0


def test_of_a_rate_more_is_better() -> None:
    assert row([100.0], [400.0], "images/s")["ratio"] == 0.25


def test_the_spread_holds_the_quartiles_of_paired_ratios() -> None:
    assert row([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0], "s")["spread"] == [2.0, 4.0]


def test_rows_are_added_with_the_keys_in_order(tmp_path: Path) -> None:
    path = tmp_path / "results" / "bench.jsonl"
    for _ in range(2):
        append_row(row([1.0], [2.0], "s"), path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [tuple(json.loads(line)) for line in lines] == [KEYS, KEYS]


def test_a_row_with_other_keys_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bench.jsonl"
    with pytest.raises(ValueError, match="keys"):
        append_row({"race": "startup"}, path)
    assert not path.exists()


def test_the_committed_rows_have_the_keys() -> None:
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    assert all(tuple(json.loads(line)) == KEYS for line in lines)


def test_the_surroundings_say_where_and_when() -> None:
    found = environment(threads=2)
    assert found["threads"] == 2
    assert "cores" in found["cpu"]
    assert found["date"].endswith("+00:00")


def test_a_command_that_fails_or_is_silent_ends_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    assert stopwatch([sys.executable, "-c", "print(1)"], prints=True)() > 0
    with pytest.raises(SystemExit, match="ended with 3"):
        stopwatch([sys.executable, "-c", "raise SystemExit(3)"], prints=False)()
    with pytest.raises(SystemExit):
        stopwatch([sys.executable, "-c", ""], prints=True)()


def test_children_do_not_inherit_settings_for_old_builds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    stopwatch([sys.executable, "-c", "import os; assert 'OPENBLAS_CORETYPE' not in os.environ"], prints=False)()


def test_the_race_holds_a_case_where_both_sides_load_torch() -> None:
    assert {"help", "list", "import", "encoder"} == set(CASES)
    assert "deixis.nn" in CASES["encoder"][0][-1]
