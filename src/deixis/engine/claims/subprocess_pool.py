"""Units of work in processes of their own: what one takes or breaks is gone with it."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from deixis.errors import DeixisError
from deixis.files import disk_refusal

__all__ = ["run_in_subprocesses"]

Work = Callable[[], Any]

_SPAWN = multiprocessing.get_context("spawn")


def run_in_subprocesses(
    works: Iterable[Work],
    jobs: int = 1,
    on_done: Callable[[], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Calls each work in a new process; results are what they leave in files.

    If one fails, or this process is stopped, all others are ended; if this process is killed, they end by themselves.

    Args:
        works: what can be pickled, such as a `functools.partial` of a function of a module.
        jobs: how many run at a time; each gets its share of the cores.
        on_done: called in this process after each.
        stop: whether no further one is to be started; those that run are waited for.

    Raises:
        DeixisError: one of them raised one, or its process died.
    """
    waiting, running = collections.deque(works), dict[int, tuple[SpawnProcess, Connection]]()
    try:
        while running or (waiting and not stop()):
            while waiting and len(running) < jobs and not stop():
                process, answer = _start(waiting.popleft(), jobs)
                running[process.sentinel] = process, answer
            ended = wait(list(running))
            for sentinel in [each for each in running if each in ended]:
                process, answer = running.pop(sentinel)
                process.join()
                _check(process, answer)
                if on_done is not None:
                    on_done()
    finally:
        for process, _ in running.values():
            process.kill()
            process.join()


def _start(work: Work, jobs: int) -> tuple[SpawnProcess, Connection]:
    answer, tell = _SPAWN.Pipe(duplex=False)
    process = _SPAWN.Process(target=_child, args=(work, tell, os.getpid(), jobs), daemon=True)
    process.start()
    tell.close()
    return process, answer


def _check(process: SpawnProcess, answer: Connection) -> None:
    with answer:
        if process.exitcode == 0:
            return
        try:
            found, cure = answer.recv() if answer.poll() else ("", "")
        except EOFError:
            found, cure = "", ""
    raise DeixisError(
        found or f"A process of the claim ended with the code {process.exitcode}.",
        cure or "Code -9 means that memory ran out, or that it was killed. Run the same command to resume.",
    )


def _child(work: Work, tell: Connection, parent: int, jobs: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends this process
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    import torch

    torch.set_num_threads(max(1, torch.get_num_threads() // jobs))
    try:
        work()
    except (DeixisError, OSError) as error:
        told = disk_refusal(error, Path(error.filename or "."), "--folder") if isinstance(error, OSError) else error
        if told is None:
            raise
        tell.send((told.found, told.cure))
        raise SystemExit(1) from error


def _watch(parent: int) -> None:
    """Ends this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
