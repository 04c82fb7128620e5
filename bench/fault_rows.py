"""Kills commands at random times and runs them again: rows of `results/faults.jsonl`.

    make faults N=200                          python -m bench.fault_rows 200
    python -m bench.fault_rows 20 index pack   these commands alone

Each trial begins in a folder and a cache of its own. The command is started, killed by SIGKILL after a random share of
the time that it takes undisturbed, and the same command is run again to its end. What counts: the end is that of the
run that was left alone, to the bit; under the final name there was nothing half-written in between; no process stayed
behind; and no temporary file is left in the end. Of a single process the process alone is killed, of two ranks all at
once, as when a machine goes off.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.fault_commands import COMMANDS, Command, lay_out, package_index
from bench.rows import ROOT, child_environment, environment

__all__ = ["Surroundings", "Trial", "main", "run_trial"]

RESULTS = ROOT / "results" / "faults.jsonl"
_LIMIT, _GRACE = 1800.0, 20.0  # seconds: of a run, and until no process may be left


class Trial(NamedTuple):
    """What came of a kill.

    Attributes:
        killed: whether the command was still running.
        equal: whether the command, run again, ended as the undisturbed run did.
        half_written: whether something unfinished lay under the final name.
        orphans: whether a process outlived the kill by more than some seconds.
        left: temporary files in the end.
        seconds: by which both runs together took longer than one alone.
    """

    killed: bool
    equal: bool
    half_written: bool
    orphans: bool
    left: tuple[str, ...]
    seconds: float


class Surroundings(NamedTuple):
    """Where a command is run.

    Attributes:
        data: the folder in which DATA and MORE lie.
        variables: of the environment.
    """

    data: Path
    variables: Mapping[str, str] = {}


def _start(command: Command, arguments: Sequence[str], place: Path, around: Surroundings) -> subprocess.Popen[bytes]:
    words = {name: str(around.data / name / "captions.csv") for name in ("DATA", "MORE")}
    words["OUT"] = str(place / command.out)
    ranks = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(command.ranks)]
    program = [*ranks * (command.ranks > 1), *command.program, *(words.get(each, each) for each in arguments)]
    return subprocess.Popen(
        [sys.executable, *program],
        cwd=place,
        env={
            **child_environment(),
            **around.variables,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "DEIXIS_CACHE": str(place / "cache"),
            "OMP_NUM_THREADS": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _to_the_end(command: Command, place: Path, around: Surroundings, arguments: Sequence[str] = ()) -> float:
    """Runs a command, or another before it; the seconds it took."""
    start, arguments = time.perf_counter(), arguments or command.arguments
    process = _start(command, arguments, place, around)
    _, error = process.communicate(timeout=_LIMIT)
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}: {error.decode()[-2000:]}")
    return time.perf_counter() - start


def _group_is_gone(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return True
    return False


def _kill(process: subprocess.Popen[bytes], ranks: int) -> bool:
    """Kills it; whether a process outlived that."""
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if ranks > 1 else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    end = time.monotonic() + _GRACE
    while not _group_is_gone(process.pid):
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
            return True
        time.sleep(0.05)
    return False


def _state(command: Command, out: Path) -> str:
    """Of what lies under the final name; empty where nothing does, or it can't be read."""
    try:
        return command.state(out) if out.exists() else ""
    except Exception:  # whatever the reason, it is not whole
        return ""


def run_trial(command: Command, around: Surroundings, start: Path, wanted: str, alone: float, share: float) -> Trial:
    """Kills a command after a share of its time, and runs it again.

    Args:
        command: what is killed.
        around: where it is run.
        start: folder that the trial begins with, which is copied.
        wanted: the state in which the undisturbed run ended.
        alone: seconds that it took.
        share: of these, after which the kill comes.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "trial"
        shutil.copytree(start, place)
        out = place / command.out
        before = _state(command, out)
        begun = time.perf_counter()
        with _start(command, command.arguments, place, around) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(share * alone)
            killed = process.poll() is None
            orphans = _kill(process, command.ranks)
        spent = time.perf_counter() - begun
        there = _state(command, out)
        half = not command.resumes and out.exists() and there not in command.whole(before or wanted, wanted)
        can_repeat = command.resumes or bool(command.begins_with)
        if can_repeat or there != wanted:  # else all was done, and the command would refuse the name that is taken
            spent += _to_the_end(command, place, around)
        left = tuple(sorted(path.name for path in place.rglob("*") if _is_temporary(path.name)))
        return Trial(killed, _state(command, out) == wanted, half, orphans, left, spent - alone)


def _is_temporary(name: str) -> bool:
    return name.endswith((".part", ".old", ".new")) or name.startswith(".pip-")


def _tried(name: str, kills: int, seed: int) -> dict[str, object]:
    """A row: a command killed so many times."""
    command, rng = COMMANDS[name], random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        data, start, alone = (Path(folder) / each for each in ("data", "start", "alone"))
        lay_out(data)
        variables = stack.enter_context(package_index(command.wheels, data / "wheels")) if command.wheels else {}
        around = Surroundings(data, variables)
        start.mkdir()
        if command.begins_with:
            _to_the_end(command, start, around, command.begins_with)
        shutil.copytree(start, alone)
        seconds = _to_the_end(command, alone, around)
        wanted = command.state(alone / command.out)
        trials: list[Trial] = []
        while sum(each.killed for each in trials) < kills:
            trials.append(run_trial(command, around, start, wanted, seconds, rng.random()))
            print(f"{name}: {trials[-1]}", flush=True)
    done = [each for each in trials if each.killed]
    return {
        "verb": name,
        "kills": len(done),
        "equal": sum(each.equal for each in done),
        "half_written": sum(each.half_written for each in done),
        "orphans": sum(each.orphans for each in done),
        "left": sum(bool(each.left) for each in done),
        "seconds_alone": round(seconds, 1),
        "seconds_lost": round(sum(each.seconds for each in done) / len(done), 1),
        "seed": seed,
        **environment(threads=1),
    }


def main(arguments: Sequence[str]) -> None:
    """Adds a row a command; the kills are shared among the commands."""
    if not arguments or not arguments[0].isdigit() or int(arguments[0]) < 1:
        raise SystemExit("Say how many kills: python -m bench.fault_rows 200")
    names = [each for each in COMMANDS if len(arguments) < 2 or each in arguments[1:]]
    if not names or set(arguments[1:]) - set(COMMANDS):
        raise SystemExit(f"There are: {', '.join(COMMANDS)}.")
    seed = int(time.time())
    for name in names:
        row = _tried(name, max(1, int(arguments[0]) // len(names)), seed)
        with open(RESULTS, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
