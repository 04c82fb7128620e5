"""Threads that read ahead of whoever works on what was read: the only ones that the package starts for this."""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from typing import Generic, TypeVar

__all__ = ["Readers", "cores", "read_ahead"]

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8
_PATIENCE = 5.0
"""Seconds that are waited for a thread to end; what it reads may lie on a disk that does not answer."""


def cores() -> int:
    """Threads that are worth starting here: one a core of this rank, at most 8."""
    return max(1, min(_THREADS, len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


class Readers(Generic[T, R]):
    """Threads that read items in the order in which they were submitted.

    They hold nothing that holds them: once this object is dropped, after an error and at the end of the program they
    end. Those of `concurrent.futures` would first do all that is queued when the program ends.

    Args:
        count: of threads.
        read: gives what an item is read to; its second argument says whether the threads are being ended, for what
            takes long.
    """

    def __init__(self, count: int, read: Callable[[T, Callable[[], bool]], R]) -> None:
        self._jobs: queue.SimpleQueue[tuple[T, Future[R]] | None] = queue.SimpleQueue()
        stopping = threading.Event()
        threads = [
            threading.Thread(target=_work, args=(self._jobs, read, stopping), name=f"deixis reader {i}", daemon=True)
            for i in range(count)
        ]
        self.end = weakref.finalize(self, _end, self._jobs, stopping, threads)
        for thread in threads:
            thread.start()

    def submit(self, item: T) -> Future[R]:
        """Queues an item."""
        future: Future[R] = Future()
        self._jobs.put((item, future))
        return future


@contextlib.contextmanager
def read_ahead(read: Callable[[T], R], items: Iterable[T], *, threads: int = 0, ahead: int) -> Iterator[Iterator[R]]:
    """Yields an iterator over what threads read, in order; the threads end with the context.

    Args:
        read: called in the threads.
        items: what is read.
        threads: how many; 0: see `cores`.
        ahead: the most items that are read before they are wanted.
    """
    readers: Readers[T, R] = Readers(threads or cores(), lambda item, stopped: read(item))

    def results() -> Iterator[R]:
        waiting: collections.deque[Future[R]] = collections.deque()
        for item in items:
            waiting.append(readers.submit(item))
            if len(waiting) >= ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        readers.end()


def _work(
    jobs: queue.SimpleQueue[tuple[T, Future[R]] | None],
    read: Callable[[T, Callable[[], bool]], R],
    stopping: threading.Event,
) -> None:
    while (job := jobs.get()) is not None and not stopping.is_set():
        try:
            job[1].set_result(read(job[0], stopping.is_set))
        except BaseException as error:
            job[1].set_exception(error)
        del job  # else the last result would be held until the next one is asked for


def _end(
    jobs: queue.SimpleQueue[tuple[T, Future[R]] | None], stopping: threading.Event, threads: list[threading.Thread]
) -> None:
    stopping.set()
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        # The present one may be the one that collects the garbage; a signal may come before all are started.
        if thread is not threading.current_thread() and thread.ident is not None:
            thread.join(_PATIENCE)
