"""Many clients at once: their questions go through the model together, and each gets its own answer."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from deixis.apps.serve.batching import Batcher, ConcurrencyLimit, Worker
from deixis.apps.serve.errors import RequestError
from tests.apps.serve.serving import SMALL, Running, running


@dataclasses.dataclass(frozen=True)
class Work:
    number: int
    weight: int = 1


class Doubler:
    """Answers with twice the number; a negative one is an error of its own."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.hold = threading.Event()
        self.hold.set()

    def __call__(self, works: Sequence[Work]) -> list[Any]:
        self.hold.wait(5)
        self.batches.append([work.number for work in works])
        if any(work.number == 999 for work in works):
            raise RuntimeError("all of it")
        return [ValueError(work.number) if work.number < 0 else 2 * work.number for work in works]


def batched(ask: Callable[[Batcher, ConcurrencyLimit, Doubler], Any], largest: int = 8) -> Doubler:
    async def main() -> None:
        worker, gate = Worker("test"), ConcurrencyLimit(100, "the test")
        batcher: Batcher = Batcher(doubler, worker, gate, largest=largest)
        task = asyncio.create_task(batcher.run())
        try:
            await asyncio.wait_for(ask(batcher, gate, doubler), 10)
        finally:
            task.cancel()
            worker.stop()

    doubler = Doubler()
    asyncio.run(main())
    return doubler


async def asked(batcher: Batcher, gate: ConcurrencyLimit, number: int, weight: int = 1) -> Any:
    with gate.place():
        return await batcher(Work(number, weight))


def test_what_comes_together_is_answered_together_and_each_gets_its_own() -> None:
    async def ask(batcher: Batcher, gate: ConcurrencyLimit, doubler: Doubler) -> None:
        answers = await asyncio.gather(*(asked(batcher, gate, number) for number in range(20)))
        assert answers == [2 * number for number in range(20)]

    assert [len(batch) for batch in batched(ask).batches] == [8, 8, 4]


def test_a_batch_is_full_by_weight_and_one_heavy_work_is_a_batch_of_its_own() -> None:
    async def ask(batcher: Batcher, gate: ConcurrencyLimit, doubler: Doubler) -> None:
        await asyncio.gather(*(asked(batcher, gate, n, w) for n, w in enumerate((3, 3, 3, 20, 1, 0, 0))))

    assert batched(ask).batches == [[0, 1], [2], [3], [4, 5, 6]]


def test_an_error_is_its_own_client_s_unless_the_whole_batch_failed() -> None:
    async def ask(batcher: Batcher, gate: ConcurrencyLimit, doubler: Doubler) -> None:
        answers = await asyncio.gather(*(asked(batcher, gate, n) for n in (1, -1, 2)), return_exceptions=True)
        assert [type(each) for each in answers] == [int, ValueError, int]
        answers = await asyncio.gather(*(asked(batcher, gate, n) for n in (1, 999)), return_exceptions=True)
        assert [type(each) for each in answers] == [RuntimeError, RuntimeError]
        assert await asked(batcher, gate, 3) == 6

    batched(ask)


def test_who_has_gone_is_not_worked_for() -> None:
    async def ask(batcher: Batcher, gate: ConcurrencyLimit, doubler: Doubler) -> None:
        doubler.hold.clear()
        first = asyncio.create_task(asked(batcher, gate, 1))
        await asyncio.sleep(0.03)
        others = [asyncio.create_task(asked(batcher, gate, number)) for number in (2, 3, 4)]
        await asyncio.sleep(0.01)
        others[1].cancel()
        await asyncio.sleep(0)
        doubler.hold.set()
        assert await asyncio.gather(first, others[0], others[2]) == [2, 4, 8]
        assert gate.inside == 0

    assert batched(ask).batches == [[1], [2, 4]]


def test_a_gate_lets_in_so_many_and_frees_the_place_on_errors_too() -> None:
    gate = ConcurrencyLimit(1, "the test")

    def fails() -> None:
        with gate.place():
            with pytest.raises(RequestError, match="1 requests wait for the test") as refused, gate.place():
                pass
            assert refused.value.status == 503
            raise ValueError("x")

    for _ in range(3):
        with pytest.raises(ValueError, match="x"):
            fails()
    assert gate.inside == 0


def at_once(address: str, bodies: Sequence[dict[str, Any]]) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
            answers = await asyncio.gather(*(client.post("/search", json=body) for body in bodies))
        await asyncio.sleep(0.2)  # in which closed connections come to their end
        return answers

    return asyncio.run(main())


@pytest.mark.slow
def test_a_hundred_clients_get_what_each_would_get_alone_in_fewer_passes(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[dict[str, Any]] = [{"texts": [f"a red sheet {number}"], "k": 5} for number in range(90)]
    bodies += [{"texts": ["red"], "minus_texts": [f"blue {number}"], "k": 5} for number in range(10)]
    with running(collection / "run", SMALL) as server:
        passes: list[int] = []
        encoder = server.desk.searcher.encoder
        encode = encoder.encode_text

        def counted(texts: Any, *rest: Any, **more: Any) -> Any:
            if not isinstance(texts, list):
                passes.append(len(texts))
            return encode(texts, *rest, **more)

        monkeypatch.setattr(encoder, "encode_text", counted)
        alone = [server.found(**body) for body in bodies]
        assert len(passes) >= 100
        passes.clear()
        together = at_once(server.address, bodies)
    assert {answer.status_code for answer in together} == {200}
    assert len(passes) < 50
    for answer, before in zip(together, alone, strict=True):
        found = answer.json()["found"]
        assert [each["row"] for each in found] == [each["row"] for each in before]
        assert [each["score"] for each in found] == pytest.approx([each["score"] for each in before], abs=1e-5)


def test_one_client_alone_does_not_wait_for_others(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.desk.batcher, "_wait", 30.0)
    assert server.found(texts=["red"], k=1)
