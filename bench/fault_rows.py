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
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from bench.rows import ROOT, child_environment, environment
from deixis.data.synthetic.scenes import SceneConfig, scenes
from deixis.indexing.index import Index
from deixis.inputs.images import load_image

__all__ = ["COMMANDS", "Command", "Trial", "main", "run_trial"]

RESULTS = ROOT / "results" / "faults.jsonl"
_PICTURES, _NEW = 72, 24
_TABLE = "captions.csv"
_LIMIT, _GRACE = 600.0, 20.0  # seconds: of a run, and until no process may be left


class Command(NamedTuple):
    """What is killed.

    Attributes:
        arguments: of `deixis`; DATA and MORE stand for tables of pictures, OUT for a folder of the trial.
        state: of what it leaves at OUT, as a digest.
        begins_with: the command that made what lies at OUT before; empty: nothing lies there.
        ranks: processes that share the work, under torchrun.
        resumes: whether an unfinished OUT is how it resumes; else OUT is there whole or not at all.
    """

    arguments: tuple[str, ...]
    state: Callable[[Path], str]
    begins_with: tuple[str, ...] = ()
    ranks: int = 1
    resumes: bool = False


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


def _files(out: Path, *patterns: str) -> str:
    """A digest of the files that fit, names included."""
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in out.glob(pattern) if path.is_file()}):
        digest.update(path.relative_to(out).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _weights(out: Path) -> str:
    return _files(out, "*.safetensors", "model/*.safetensors")


def _index(out: Path) -> str:
    """A digest of ids and vectors, however they are laid out in files; the index must be sound."""
    opened = Index.open(out / "index", verify=True)
    digest = hashlib.sha256(_weights(out).encode())
    for row, item in sorted(opened.items(), key=lambda pair: str(pair[1]["id"])):
        digest.update(str(item["id"]).encode() + b"\0" + opened.vector(row).tobytes())
    return digest.hexdigest()


_TRAIN = ("train", "clip", "--data", "DATA", "--config", "tiny", "--out", "OUT")
_STEPS = ("--steps", "40", "--batch-size", "8", "--checkpoint-every", "5")
_INDEX = ("index", "DATA", "--model", "tiny", "--out", "OUT")

COMMANDS = {
    "train": Command((*_TRAIN, *_STEPS), _weights, resumes=True),
    "train, two ranks": Command((*_TRAIN, *_STEPS), _weights, ranks=2, resumes=True),
    "adapt": Command(("adapt", "DATA", "--model", "tiny", "--out", "OUT"), _index),
    "index": Command(_INDEX, _index),
    "index --update": Command(("index", "MORE", "--out", "OUT", "--add"), _index, begins_with=_INDEX),
    "pack": Command(("pack", "DATA", "--shards", "OUT", "--size", "10"), lambda out: _files(out, "*")),
}
"""Name -> what is killed. `claim` resumes by units, which tests kill; `data get` needs a network."""


def _lay_out(folder: Path) -> None:
    """DATA and MORE: folders of pictures of shapes, each with a table of captions."""
    samples = scenes(0, _PICTURES + _NEW, side=48, config=SceneConfig(cast="shapes", masks=False)).samples
    for name, part in (("DATA", samples[:_PICTURES]), ("MORE", samples[_PICTURES:])):
        (folder / name).mkdir(parents=True)
        lines = ["path,caption"]
        for number, sample in enumerate(part):
            pixels = load_image(sample.picture).permute(1, 2, 0).contiguous().numpy()
            path = folder / name / f"{number:03}.png"
            Image.fromarray(pixels).save(path)
            lines.append(f'{path.name},"{sample.captions[0]}"')
        (folder / name / _TABLE).write_text("\n".join(lines) + "\n", encoding="utf-8")


def _start(command: Sequence[str], place: Path, data: Path, ranks: int) -> subprocess.Popen[bytes]:
    words = {name: str(data / name / _TABLE) for name in ("DATA", "MORE")} | {"OUT": str(place / "out")}
    arguments = [words.get(each, each) for each in command]
    agent = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    return subprocess.Popen(
        [sys.executable, *agent, "-m", "deixis", *arguments],
        cwd=place,
        env={**child_environment(), "DEIXIS_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _to_the_end(command: Sequence[str], place: Path, data: Path, ranks: int) -> float:
    """Runs a command; the seconds it took."""
    start = time.perf_counter()
    process = _start(command, place, data, ranks)
    _, error = process.communicate(timeout=_LIMIT)
    if process.returncode:
        raise SystemExit(f"deixis {' '.join(command)} ended with {process.returncode}: {error.decode()[-2000:]}")
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


def run_trial(command: Command, data: Path, start: Path, wanted: str, alone: float, share: float) -> Trial:
    """Kills a command after a share of its time, and runs it again.

    Args:
        command: what is killed.
        data: the folder in which both lie.
        start: folder that the trial begins with, which is copied.
        wanted: the state in which the undisturbed run ended.
        alone: seconds that it took.
        share: of these, after which the kill comes.
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name) / "trial"
        shutil.copytree(start, place)
        before = _state(command, place / "out")
        begun = time.perf_counter()
        with _start(command.arguments, place, data, command.ranks) as process:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(share * alone)
            killed = process.poll() is None
            orphans = _kill(process, command.ranks)
        spent = time.perf_counter() - begun
        there = _state(command, place / "out")
        half = not command.resumes and (place / "out").exists() and there not in (before or wanted, wanted)
        if there != wanted:  # else the kill came when all was done, and the same command would find it so
            spent += _to_the_end(command.arguments, place, data, command.ranks)
        left = tuple(sorted(path.name for path in place.rglob("*") if path.name.endswith((".part", ".old"))))
        return Trial(killed, _state(command, place / "out") == wanted, half, orphans, left, spent - alone)


def _tried(name: str, kills: int, seed: int) -> dict[str, object]:
    """A row: a command killed so many times."""
    command, rng = COMMANDS[name], random.Random(f"{name} {seed}")
    with tempfile.TemporaryDirectory() as folder:
        data, start, alone = (Path(folder) / each for each in ("data", "start", "alone"))
        _lay_out(data)
        start.mkdir()
        if command.begins_with:
            _to_the_end(command.begins_with, start, data, 1)
        shutil.copytree(start, alone)
        seconds = _to_the_end(command.arguments, alone, data, command.ranks)
        wanted = command.state(alone / "out")
        trials: list[Trial] = []
        while sum(each.killed for each in trials) < kills:
            trials.append(run_trial(command, data, start, wanted, seconds, rng.random()))
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
