"""Clocks that jump, a home that can't be written, memory that runs out: a message, and nothing lost."""

from __future__ import annotations

import datetime
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.index.index import index, update
from deixis.engine.features import picture_reader
from deixis.indexing.index import Index
from tests.commands import SOURCE, deixis
from tests.pictures import captioned

# the clock


@pytest.fixture
def jumping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes by up to ten years, forwards or backwards, each time it is asked."""
    rng, true = random.Random(0), time.time
    years = 10 * 365 * 86400

    def now() -> float:
        return true() + rng.uniform(-years, years)

    class Date(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.fromtimestamp(now(), tz)

    monkeypatch.setattr(time, "time", now)
    monkeypatch.setattr(time, "time_ns", lambda: int(now() * 1e9))
    monkeypatch.setattr("deixis.indexing.folder.datetime.datetime", Date)


def _rows(run: Path) -> dict[str, bytes]:
    opened = Index.open(run / "index", verify=True)
    return {str(item["id"]): opened.vector(row).tobytes() for row, item in opened.items()}


@pytest.mark.slow
@pytest.mark.usefixtures("jumping")
def test_a_clock_that_jumps_makes_no_update_overlook_a_change(tmp_path: Path) -> None:
    data, run = captioned(tmp_path / "data", 6), tmp_path / "run"
    index(data, run, "tiny", quiet=True)
    for side in (9, 13, 17):
        for path in sorted(data.glob("*.png"))[:2]:  # of the same size in bytes, and dated back
            Image.new("RGB", (side, side), (side, 0, 0)).save(path)
            os.utime(path, (side, side))
        update(run, data, remove_gone=True)
        index(data, tmp_path / f"anew-{side}", "tiny", quiet=True)
        assert _rows(run) == _rows(tmp_path / f"anew-{side}")


@pytest.mark.slow
def test_a_clock_that_jumps_between_checkpoints_changes_no_weight(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = captioned(tmp_path / "data", 16)
    flags = ("--config", "tiny", "--steps", "6", "--batch-size", "4", "--checkpoint-every", "2", "--quiet")
    assert deixis("train", "clip", "--data", data, *flags, "--out", tmp_path / "true").code == 0
    request.getfixturevalue("jumping")
    assert deixis("train", "clip", "--data", data, *flags, "--out", tmp_path / "jumping").code == 0
    weights = [(tmp_path / each / "method.safetensors").read_bytes() for each in ("true", "jumping")]
    assert weights[0] == weights[1]


# the home


@pytest.mark.slow
def test_a_home_that_can_not_be_written_is_told_with_the_variable_that_names_another_place(tmp_path: Path) -> None:
    captioned(tmp_path / "data", 3)
    (tmp_path / "file").write_text("")
    away = {name: value for name, value in os.environ.items() if name not in ("DEIXIS_CACHE", "XDG_CACHE_HOME")}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "deixis", *arguments]
        home = {"HOME": str(tmp_path / "file"), "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, cwd=tmp_path, env={**away, **home, **more}, capture_output=True, text=True)

    arguments = ("index", "data", "--model", "tiny", "--out", "run")
    refused = run(*arguments)
    assert refused.returncode == 2
    assert "DEIXIS_CACHE" in refused.stderr.splitlines()[-1]
    assert sorted(os.listdir(tmp_path)) == ["data", "file"]
    assert run("list").returncode == 0, "what writes nothing needs no home"
    assert run(*arguments, DEIXIS_CACHE=str(tmp_path / "cache")).returncode == 0


# memory


def test_a_picture_that_did_not_fit_beside_others_is_read_once_more_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, refused = picture_reader.PictureReader._read, set[int]()

    def short(self: Any, place: int, *more: Any) -> Any:
        if place % 2 and place not in refused:
            refused.add(place)
            raise MemoryError
        return read(self, place, *more)

    monkeypatch.setattr(picture_reader.PictureReader, "_read", short)
    data = captioned(tmp_path / "data", 5)
    assert len(index(data, tmp_path / "run", "tiny", quiet=True)) == 5
    assert refused == {1, 3}


_LIMITED = """
import resource, sys
from PIL import Image
from deixis import cli, zoo
from deixis.apps.index import index
zoo.load("tiny").encode_image([Image.new("RGB", (40, 40))])  # what is loaded is loaded
size = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmSize"))
resource.setrlimit(resource.RLIMIT_AS, (size * 1024 + int(sys.argv[1]),) * 2)
cli.main(sys.argv[2:])
"""


@pytest.mark.slow
@pytest.mark.parametrize("megabytes", [1, 20, 60])
def test_memory_that_runs_out_while_pictures_are_embedded_is_a_message_or_costs_no_picture(
    megabytes: int, tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    for number in range(6):
        Image.effect_noise((2400, 1800), 40 + number).convert("RGB").save(tmp_path / "data" / f"{number}.jpg")
    arguments = ("index", "data", "--model", "tiny", "--out", "run")
    command = [sys.executable, "-W", "ignore", "-c", _LIMITED, str(megabytes * 10**6), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "Traceback" not in done.stderr
    if done.returncode < 0:  # a compiled library asked for memory itself and gave up; Python had no say
        assert -done.returncode in (signal.SIGABRT, signal.SIGSEGV)
        done = subprocess.run([sys.executable, "-m", "deixis", *arguments], cwd=tmp_path, env=environment)
        assert done.returncode == 0
    if done.returncode:
        assert done.returncode == 2
        assert "memory" in done.stderr.splitlines()[-1]
        assert os.listdir(tmp_path) == ["data"]
    else:
        assert sorted(os.listdir(tmp_path)) == ["data", "run"]
        assert len(Index.open(tmp_path / "run" / "index", verify=True)) == 6
