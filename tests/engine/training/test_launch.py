"""Processes that belong together: none waits for ever for one that is gone.

Run as a module, this file is one rank: `python -m tests.engine.training.test_launch HOW`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from deixis.engine.training.launch import device, ranks
from deixis.errors import DeixisError
from deixis.ops.collective import rank, total, world_size

ROOT = Path(__file__).parents[3]
TIMEOUT, LATE = 10, 5


# One process


def test_a_process_of_its_own_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks():
        assert not dist.is_initialized()
        assert (rank(), world_size()) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "1")
    with ranks():
        assert not dist.is_initialized()


def test_errors_of_a_single_process_pass_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="connection closed by peer"), ranks():
        raise RuntimeError("connection closed by peer")


def test_without_a_gpu_the_processor_computes() -> None:
    assert device().type == ("cuda" if torch.cuda.is_available() else "cpu")


# Two processes


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def started(how: str, numbers: Sequence[int] = (0, 1)) -> Iterator[list[subprocess.Popen[str]]]:
    """Some of two ranks, without torchrun's agent, which would end the other for us."""
    common = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(free_port()), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    path = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.engine.training.test_launch", how],
            cwd=ROOT,
            env={**os.environ, **common, **path, "RANK": str(number), "LOCAL_RANK": str(number)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in numbers
    ]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_ranks_meet_and_part() -> None:
    with started("meet") as processes:
        outputs = [process.communicate(timeout=120) for process in processes]
    assert [out.split() for out, _ in outputs] == [["0", "2", "3"], ["1", "2", "3"]], outputs


@pytest.mark.slow
def test_a_rank_that_joins_late_is_waited_for() -> None:
    with started("late") as processes:
        outputs = [process.communicate(timeout=120) for process in processes]
    assert [out.split() for out, _ in outputs] == [["0", "2", "3"], ["1", "2", "3"]], outputs


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_a_rank_that_never_comes_is_told_of_by_the_one_that_waits(number: int) -> None:
    """The first one, whose door all come to, as well as any other."""
    with started("meet", [number]) as (process,):
        begun = time.monotonic()
        out, err = process.communicate(timeout=120)
        took = time.monotonic() - begun
    assert process.returncode == 3, err
    assert out.strip() == f"Another rank has ended, or has not answered for {TIMEOUT} seconds."
    assert took < 60 + TIMEOUT, "start of the interpreter included"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "raises", "stopped"])
def test_when_a_rank_is_gone_the_other_ends_and_says_so(how: str) -> None:
    """Killed, ended by an error of its own, or silent: then within the time that was set."""
    with started(how) as processes:
        begun = time.monotonic()
        out, err = processes[0].communicate(timeout=120)
        took = time.monotonic() - begun
    assert processes[0].returncode == 3, err
    assert out.strip() == f"Another rank has ended, or has not answered for {TIMEOUT} seconds."
    assert took < 60 + TIMEOUT, "start of the interpreter included"


def _work(how: str) -> None:
    if how == "late" and os.environ["RANK"] == "1":
        time.sleep(LATE)
    with ranks(TIMEOUT):
        total(torch.ones(1))
        if rank() == 1:
            if how == "raises":
                raise DeixisError("A sample can't be read.")
            if how in ("killed", "stopped"):
                os.kill(os.getpid(), signal.SIGKILL if how == "killed" else signal.SIGSTOP)
        print(rank(), world_size(), int(total(torch.tensor(rank() + 1))))


if __name__ == "__main__":
    code = 0
    try:
        _work(sys.argv[1])
    except DeixisError as error:
        print(error.found)
        code = 3
    sys.stdout.flush()
    os._exit(code)  # as the command line does: gloo's threads may abort the interpreter at its end
