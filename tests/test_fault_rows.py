"""Commands that are killed and run again end as if nothing had happened; what they were writing is not left behind."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from bench import fault_rows
from bench.fault_commands import COMMANDS, Command, lay_out
from bench.fault_rows import Surroundings, run_trial
from docs.build import table
from docs.faults import faults_page


@pytest.mark.slow
@pytest.mark.parametrize("name", ["train, frozen columns", "index --update", "pack"])
def test_a_command_that_is_killed_and_run_again_ends_the_same(name: str, tmp_path: Path) -> None:
    command, start, alone = COMMANDS[name], tmp_path / "start", tmp_path / "alone"
    lay_out(tmp_path)
    around = Surroundings(tmp_path)
    start.mkdir()
    if command.begins_with:
        fault_rows._to_the_end(command, start, around, command.begins_with)
    shutil.copytree(start, alone)
    seconds = fault_rows._to_the_end(command, alone, around)
    trial = run_trial(command, around, start, command.state(alone / "out"), seconds, 0.7)
    assert trial.equal
    assert (trial.half_written, trial.orphans, trial.left) == (False, False, ())


def test_a_trial_tells_what_is_half_written_under_the_final_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = "import pathlib, time; p = pathlib.Path('out'); p.mkdir(exist_ok=True); n = len(list(p.iterdir())); "
    half += "(p / str(n)).write_text('x'); (p / '.a.part').write_text(''); time.sleep(60 if n == 0 else 0)"

    def start(command: object, arguments: object, place: Path, around: object) -> object:
        there = len(list(place.glob("out/?")))
        process = fault_rows.subprocess.Popen(
            [fault_rows.sys.executable, "-S", "-c", half], cwd=place, stderr=fault_rows.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        while process.poll() is None and len(list(place.glob("out/?"))) == there:
            time.sleep(0.01)  # a busy machine takes a while to start it
        return process

    monkeypatch.setattr(fault_rows, "_start", start)
    (tmp_path / "start").mkdir()
    command = Command((), lambda out: str(sorted(path.name for path in out.iterdir())))
    trial = run_trial(command, Surroundings(tmp_path), tmp_path / "start", "['.a.part', '0', '1']", 1.0, 0.5)
    assert (trial.killed, trial.half_written, trial.orphans, trial.left) == (True, True, False, (".a.part",))


def test_an_index_that_says_that_searches_are_to_be_measured_again_is_whole_and_one_judged_by_another_s_is_not() -> (
    None
):
    whole = COMMANDS["index --update"].whole("a 1", "b 2")
    assert whole == {"a 1", "a to be measured again", "b to be measured again", "b 2"}
    assert COMMANDS["index"].whole("b 2", "b 2") == {"b 2"}


def test_the_page_sums_the_kills_of_a_command() -> None:
    row = {"verb": "pack", "kills": 3, "equal": 3, "half_written": 0, "orphans": 0, "left": 1, "seconds_lost": 1.0}
    page = faults_page([row, {**row, "kills": 1, "equal": 0, "seconds_lost": 5.0}], [], "made", table)
    assert "| `deixis pack` | 4 | 1 | 0 | 0 | 2 | 2.0 |" in page
    assert "Nothing was measured" in faults_page([], [], "made", table)
