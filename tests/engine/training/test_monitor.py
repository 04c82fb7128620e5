"""What a run tells: lines that are finite, steps that stand once, a warning when features fall into few directions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from deixis.engine.training.monitor import CollapseWarning, Journal, Monitor
from deixis.engine.training.train import Training, batches
from deixis.types import Losses, Progress
from tests.toys import TwoTowers, pairs


def lines(steps: int = 4, every: int = 2) -> list[dict[str, Any]]:
    training = Training(TwoTowers(), batches(pairs(12), 6, 0), steps)
    monitor, found = Monitor(training, stage=1, before=100.0), []

    def on_step(progress: Progress, losses: Losses) -> None:
        monitor.note()
        if progress.step % every == 0:
            found.append(monitor.line(progress, losses))

    training.run(on_step)
    return found


def test_a_line_tells_where_the_run_is_and_how_fast_it_goes() -> None:
    first, second = lines()
    assert [(line["stage"], line["step"], line["of"]) for line in (first, second)] == [(1, 2, 4), (1, 4, 4)]
    assert first["loss"] == pytest.approx(sum(first["parts"].values()), rel=1e-5)
    assert first["metrics"] == {"scale": pytest.approx(2.0, abs=0.1)}
    assert all(line["samples_per_second"] > 0 and 0 <= line["waiting"] <= 1 for line in (first, second))
    assert 100 <= first["seconds"] <= second["seconds"]
    assert first["eta"] >= 0
    assert second["eta"] == 0
    assert 10 < first["memory_mb"] < 1e5
    assert first["gradient_norm"] > 0


def test_time_that_was_spent_on_something_else_does_not_count() -> None:
    training = Training(TwoTowers(), batches(pairs(12), 6, 0), 1)
    monitor = Monitor(training)
    monitor._mark -= 1000  # a measurement of a quarter of an hour
    monitor.skip()
    training.run(lambda progress, losses: monitor.note())
    line = monitor.line(Progress(1, 2), Losses({"x": torch.tensor(0.0)}))
    assert line["samples_per_second"] > 6 / 1000
    assert line["eta"] < 1000


def test_a_number_that_is_none_is_null_in_a_line() -> None:
    monitor = Monitor(Training(TwoTowers(), batches(pairs(12), 6, 0), 1))
    line = monitor.line(Progress(1, 1), Losses({"x": torch.tensor(torch.inf)}, {"y": float("nan"), "z": 2.0}))
    assert (line["loss"], line["parts"], line["metrics"]) == (None, {"x": None}, {"y": None, "z": 2.0})
    json.dumps(line, allow_nan=False)


# The journal


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    found = Journal(tmp_path / "metrics.jsonl")
    for stage, step in [(0, 0), (0, 5), (0, 10), (1, 5), (1, 10)]:
        found.write({"stage": stage, "step": step, "loss": 0.5})
    return found


def places(journal: Journal) -> list[tuple[int, int]]:
    return [(line["stage"], line["step"]) for line in journal.lines()]


@pytest.mark.parametrize(("at", "left"), [((1, 7), 4), ((1, 10), 5), ((0, 5), 2), ((0, 0), 1), ((1, 0), 3)])
def test_what_lies_behind_the_checkpoint_is_taken_out(journal: Journal, at: tuple[int, int], left: int) -> None:
    whole = journal.lines()
    assert journal.rewind(*at) == journal.lines() == whole[:left]
    journal.write({"stage": 1, "step": 99})
    assert places(journal)[-1] == (1, 99)


def test_a_line_that_a_kill_cut_is_taken_out(journal: Journal) -> None:
    with open(journal.path, "a", encoding="utf-8") as file:
        file.write('{"stage": 1, "st')
    journal.rewind(1, 10)
    journal.write({"stage": 1, "step": 15})
    assert places(journal) == [(0, 0), (0, 5), (0, 10), (1, 5), (1, 10), (1, 15)]


def test_a_journal_that_is_not_there_is_empty(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "none.jsonl")
    assert journal.rewind(0, 0) == journal.lines() == []
    assert not journal.path.exists()


# The gauge


def test_a_fall_below_half_of_the_highest_is_told_once_until_it_has_risen() -> None:
    gauge = CollapseWarning(0.5)
    told = [gauge.note({"x": value, "y": 1.0}) for value in (4.0, 8.0, 4.0, 3.9, 1.0, 5.0, 2.0)]
    assert told == [[], [], [], ["x"], [], [], ["x"]]
    assert gauge.highest("x") == 8.0
