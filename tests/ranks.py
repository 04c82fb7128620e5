"""Jobs on several ranks. Processes with a group of gloo are kept for all tests of a worker: to start them takes longer
than most jobs."""

from __future__ import annotations

import atexit
import contextlib
import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import torch

__all__ = ["on_ranks"]

_SECONDS = 300


def on_ranks(world: int, job: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `job(rank, *arguments)` gives on each rank.

    Args:
        world: processes; they are kept until another number is wanted.
        job: a function of a module; what it gives is sent, so that tensors must have no gradient.
        *arguments: the same for all ranks.

    Raises:
        RuntimeError: the job failed on a rank, or did not end in time.
    """
    ranks = _KEPT.pop(world, None)
    if ranks is None:
        _stop()
        ranks = _Ranks(world)
    try:
        found = ranks(job, *arguments)
    except BaseException:
        ranks.stop()
        raise
    _KEPT[world] = ranks
    return found


@atexit.register
def _stop() -> None:
    while _KEPT:
        _KEPT.popitem()[1].stop()


class _Ranks:
    """Processes that wait for jobs."""

    def __init__(self, world: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._folder = tempfile.TemporaryDirectory()
        self._processes, self._connections = [], list[Connection]()
        for rank in range(world):
            here, there = context.Pipe()
            address = f"file://{self._folder.name}/meet"
            process = context.Process(target=_serve, args=(rank, world, address, there), daemon=True)
            process.start()
            there.close()
            self._processes.append(process)
            self._connections.append(here)

    def __call__(self, job: Callable[..., Any], *arguments: Any) -> list[Any]:
        for each in self._connections:
            each.send((job, arguments))
        found = []
        for rank, each in enumerate(self._connections):
            if not each.poll(_SECONDS):
                raise RuntimeError(f"rank {rank} has not answered for {_SECONDS} seconds")
            try:
                result, error = each.recv()
            except EOFError as ended:
                raise RuntimeError(f"rank {rank} has ended") from ended
            if error:
                raise RuntimeError(f"on rank {rank}:\n{error}")
            found.append(result)
        return found

    def stop(self) -> None:
        for each in self._processes:
            each.kill()
            each.join()
        for connection in self._connections:
            connection.close()
        self._folder.cleanup()


def _serve(rank: int, world: int, address: str, connection: Connection) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=world)
    with contextlib.suppress(EOFError):
        while True:
            job, arguments = connection.recv()
            try:
                answer = job(rank, *arguments), ""
            except BaseException:
                answer = None, traceback.format_exc()
            connection.send(answer)


_KEPT: dict[int, _Ranks] = {}
"""How many -> the ranks that wait for jobs."""
