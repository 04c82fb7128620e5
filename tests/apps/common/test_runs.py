"""A run folder appears whole or not at all, and replaces nothing but a run."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deixis.apps.adapt.adapt import adapt
from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common import runs
from deixis.apps.common.runs import Clock, Reservation, free_name, reserve, run_folder, versions, writable
from deixis.errors import DeixisError
from deixis.indexing.changes import build
from tests.pictures import captioned
from tests.support import few

RUN = ("result.json", "report.html", "split-0/result.json", "index/manifest.json", "model/config.json")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("old")
    return folder


def fail(folder: Path, error: Exception) -> None:
    put(folder, "result.json")
    raise error


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# taking a name


def test_a_free_name_is_taken_without_a_trace(tmp_path: Path) -> None:
    free_name(tmp_path / "a" / "b" / "run", overwrite=False)
    (tmp_path / "empty").mkdir()
    free_name(tmp_path / "empty", overwrite=False)
    assert os.listdir(tmp_path) == ["empty"]


def test_what_another_process_writes_is_refused_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_PATIENCE", 0.0)
    other = Reservation(os.path.realpath(tmp_path / "run"))  # unknown to `reserve`, as one of another process is
    with pytest.raises(DeixisError, match=r"Another process is writing .*run at this moment. .*another --out"):
        free_name(tmp_path / "run", overwrite=True)
    free_name(tmp_path / "another run", overwrite=False)
    assert os.listdir(tmp_path) == []
    del other
    mine = free_name(tmp_path / "run", overwrite=False)
    assert reserve(tmp_path / "here" / ".." / "run") is mine  # one process may ask again, under any name of the place


@pytest.mark.slow
def test_a_killed_process_leaves_no_reservation(tmp_path: Path) -> None:
    code = (
        "import time; from pathlib import Path; from deixis.apps.common.runs import reserve;"
        f"mine = reserve(Path({str(tmp_path / 'run')!r})); print('ready', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(DeixisError, match="Another process is writing"):
            reserve(tmp_path / "run")
        process.kill()
    assert reserve(tmp_path / "run") is not None


def test_another_run_is_replaced_only_where_that_is_asked_for(tmp_path: Path) -> None:
    run = put(tmp_path / "run", *RUN)
    with pytest.raises(DeixisError, match=r"holds another run.*--overwrite"):
        free_name(run, overwrite=False)
    free_name(run, overwrite=True)


@pytest.mark.parametrize(
    "names",
    [
        ("holiday.jpg",),
        ("index/cat.jpg",),
        ("index/notes.txt", "model/engine.stl"),
        (*RUN, "my notes.txt"),
        (*RUN, "index/my notes.txt"),
        (*RUN, "old/result.json"),
        ("report.html",),
    ],
)
def test_a_folder_with_other_things_in_it_is_never_replaced(names: tuple[str, ...], tmp_path: Path) -> None:
    folder = put(tmp_path / "folder", *names)
    for overwrite in (False, True):
        with pytest.raises(DeixisError, match="other files in it"):
            free_name(folder, overwrite)
    assert files(folder) == set(names)


def test_a_file_is_not_taken_for_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="is a file; a run is a folder"):
        free_name(put(tmp_path, "thesis.pdf") / "thesis.pdf", overwrite=True)


def test_the_folder_one_is_in_is_not_pulled_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    for out in (".", "", "..", "../below"):
        with pytest.raises(DeixisError, match="the folder you are in, or one above"):
            free_name(Path(out), overwrite=True)


@pytest.mark.parametrize(
    ("out", "why"),
    [
        ("/proc/deixis/run", "No such file or directory"),
        ("file/run", "Not a directory"),
        ("r" * 300, "File name too long"),
        ("r" * 250, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_told(
    out: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(put(tmp_path, "file"))
    with pytest.raises(DeixisError, match=rf"can't be written in .*: {why}.*Choose another --out"):
        writable(Path(out))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(DeixisError, match="Permission denied"):
        free_name(tmp_path / "run", overwrite=False)
    tmp_path.chmod(0o700)


# writing


def test_a_run_that_fails_leaves_nothing_and_keeps_the_old_one(tmp_path: Path) -> None:
    run = put(tmp_path / "run", *RUN)
    with pytest.raises(ZeroDivisionError), run_folder(run, overwrite=True) as folder:
        fail(folder, ZeroDivisionError())
    assert os.listdir(tmp_path) == ["run"]
    assert files(run) == set(RUN)


def test_a_run_that_succeeds_replaces_the_old_one_whole(tmp_path: Path) -> None:
    run = put(tmp_path / "run", *RUN)
    with run_folder(run, overwrite=True) as folder:
        put(folder, "result.json")
    assert files(tmp_path) == {"run/result.json"}


def test_a_name_that_was_taken_during_the_work_is_respected(tmp_path: Path) -> None:
    free_name(tmp_path / "run", overwrite=False)
    run = put(tmp_path / "run", *RUN)
    with pytest.raises(DeixisError, match="holds another run"), run_folder(run, overwrite=False):
        pass
    assert files(run) == set(RUN)


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "The disk is full at"),
        (errno.EDQUOT, "The disk is full at"),
        (errno.EACCES, "can't be written"),
        (errno.EROFS, "can't be written"),
    ],
)
def test_a_disk_that_refuses_is_told_and_nothing_is_left(number: int, said: str, tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=said), run_folder(tmp_path / "run", overwrite=False) as folder:
        fail(folder, OSError(number, os.strerror(number)))
    assert os.listdir(tmp_path) == []


@contextlib.contextmanager
def small_disk(place: Path, kilobytes: int) -> Iterator[Path]:
    """A file system in memory that soon is full; the test is skipped where none can be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("kilobytes", few([4, 16, 28], 16))
def test_wherever_a_real_disk_runs_full_it_is_told_and_nothing_is_left(kilobytes: int, tmp_path: Path) -> None:
    settings = AdaptSettings(model="tiny", method="ridge", splits=6, controls=False)
    with small_disk(tmp_path / "disk", kilobytes) as disk:
        with pytest.raises(DeixisError, match=r"The disk is full at .*disk\. Free some space"):
            adapt(str(captioned(tmp_path / "pictures", 30)), disk / "run", settings, quiet=True)
        assert os.listdir(disk) == []


def test_vectors_that_outgrow_a_real_disk_are_an_error_and_not_the_end_of_the_process(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 200) as disk:
        with pytest.raises(DeixisError, match="The disk is full"), run_folder(disk / "run", overwrite=False) as folder:
            build(folder / "index", np.ones((2000, 64)), [{"id": i} for i in range(2000)], model="m", fingerprint="f")
        assert os.listdir(disk) == []


# figures on the run


def test_the_clock_counts_the_work_of_children() -> None:
    clock = Clock()
    busy = "import time\nwhile time.process_time() < 0.2: pass"
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", busy], check=True)
    told, passed = clock.read(), time.perf_counter() - start
    assert told["cpu"] >= 0.19
    assert told["total"] == pytest.approx(passed, abs=0.1)


def test_the_peak_holds_what_a_child_needed() -> None:
    before = Clock.peak_mb()
    subprocess.run([sys.executable, "-c", "x = b'x' * 300_000_000"], check=True)
    assert Clock.peak_mb() >= max(before, 300)


def test_versions_name_what_a_result_depends_on() -> None:
    assert {"python", "torch", "numpy", "pillow"} <= set(versions())
