"""Requests of many clients go through the model together, in one thread of their own.

The threads are daemons: what the model is busy with can't be interrupted, and must not keep a server alive that was
told to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from deixis.apps.serve.errors import RequestError

__all__ = ["Batcher", "ConcurrencyLimit", "Weighed", "Worker"]

T = TypeVar("T")


@runtime_checkable
class Weighed(Protocol):
    """A piece of work that knows how large it is."""

    @property
    def weight(self) -> int:
        """How many texts and pictures it holds."""


W = TypeVar("W", bound=Weighed)


class Worker:
    """Threads that do what they are given, in order.

    Args:
        name: of the threads.
        threads: how many.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        self._tasks: queue.SimpleQueue[tuple[Future, Callable[[], Any]] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"deixis-{name}", daemon=True) for _ in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    async def __call__(self, work: Callable[..., T], *arguments: Any) -> T:
        """Does it there, and waits for it here; what nobody waits for any longer is not begun."""
        future: Future[T] = Future()
        self._tasks.put((future, lambda: work(*arguments)))
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Ends the threads, once what is being done is done."""
        for _ in self._threads:
            self._tasks.put(None)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, work = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:  # it belongs to who waits
                future.set_exception(error)
            del future, work, task  # an idle thread would keep the last answer in memory


class ConcurrencyLimit:
    """Lets so many requests in at a time, and tells the others to come again.

    Args:
        places: how many.
        what: they wait for, in words.
    """

    def __init__(self, places: int, what: str) -> None:
        self._places, self._what = places, what
        self.inside = 0

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request.

        Raises:
            Refused: all are taken.
        """
        if self.inside >= self._places:
            raise RequestError(
                503, f"{self.inside} requests wait for {self._what} already.", "Ask again.", {"Retry-After": "1"}
            )
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1


class Batcher(Generic[W, T]):
    """Gathers what many clients ask, and has it answered together.

    Args:
        answer: gives for each of several works its answer, or the exception that is its own.
        worker: where that runs.
        gate: that requests have passed before they come here; where all that are inside wait here, there is no reason
            to wait for more.
        largest: texts and pictures that are answered together.
        wait: seconds that the first of a batch waits for others.
        seen: told the weight of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[W]], Sequence[T | Exception]],
        worker: Worker,
        gate: ConcurrencyLimit,
        *,
        largest: int = 64,
        wait: float = 0.004,
        seen: Callable[[int], object] = lambda weight: None,
    ) -> None:
        self._answer, self._worker, self._gate = answer, worker, gate
        self._largest, self._wait, self._seen = largest, wait, seen
        self._waiting: list[tuple[W, asyncio.Future[T]]] = []
        self._filled = asyncio.Event()

    async def __call__(self, work: W) -> T:
        """The answer to one of them.

        Raises:
            Exception: that of this work, or of the whole batch.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        self._filled.set()
        return await future

    async def run(self) -> None:
        """Answers until it is cancelled."""
        while True:
            await self._filled.wait()
            if len(self._waiting) < min(self._gate.inside, self._largest):
                await asyncio.sleep(self._wait)
            batch = self._batch()
            if not batch:
                continue
            self._seen(sum(work.weight for work, _ in batch))
            try:
                answers = await self._worker(self._answer, [work for work, _ in batch])
            except Exception as error:  # of the batch as a whole
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, Exception):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)

    def _batch(self) -> list[tuple[W, asyncio.Future[T]]]:
        """The first that wait, without those whose client has gone or was told that it takes too long."""
        waiting = [each for each in self._waiting if not each[1].done()]
        taken, weight = 0, 0
        while taken < len(waiting) and (not taken or weight + waiting[taken][0].weight <= self._largest):
            weight += waiting[taken][0].weight
            taken += 1
        self._waiting = waiting[taken:]
        if not self._waiting:
            self._filled.clear()
        return waiting[:taken]
