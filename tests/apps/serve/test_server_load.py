"""Whatever is sent, and however many send: no fault inside, and memory that stays bounded."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from PIL import Image

from tests.apps.serve.serving import SMALL, Running, running, sent
from tests.commands import start

OPERATIONS = (
    *("POST /search", "POST /embed", "POST /explain", "POST /ground", "GET /items/{row}", "GET /items/{row}/thumbnail"),
    *("GET /items/{row}/image", "GET /items/{row}/neighbours", "GET /folders", "POST /folders/{number}/update"),
    *("GET /jobs/{number}", "GET /run", "GET /report", "GET /health", "GET /metrics"),
    *("GET /items", "GET /export.csv", "GET /export.zip"),
    *("GET /labels", "GET /labels/queue", "GET /labels/classes", "GET /labels/suggestions/{row}"),
    *("POST /labels/{row}", "GET /captions", "GET /captions/queue", "GET /captions/nearest/{row}"),
    *("POST /captions/{row}", "POST /segment", "POST /align"),
    *("GET /words", "GET /words/queue", "GET /words/near", "POST /words/{row}"),
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_the_schema_allows_or_not_is_answered_as_it_says(operation: str, server: Running) -> None:
    """Requests that fit the schema and ones that don't; answers have the statuses, types and forms that it tells."""
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    schema = schemathesis.openapi.from_url(f"{server.address}/openapi.json")
    method, path = operation.split()
    checks = [content_type_conformance, response_schema_conformance, status_code_conformance]
    if path not in ("/ground", "/segment"):  # 501, where no model can
        checks.append(not_a_server_error)

    for mode in schemathesis.GenerationMode:

        @hypothesis.given(case=schema[path][method].as_strategy(generation_mode=mode))
        @hypothesis.settings(
            max_examples=40, deadline=None, suppress_health_check=list(hypothesis.HealthCheck), derandomize=True
        )
        def answered(case: Any) -> None:
            case.call_and_validate(base_url=server.address, checks=checks)

        try:
            answered()
        except hypothesis.errors.Unsatisfiable:
            assert mode is schemathesis.GenerationMode.NEGATIVE  # nothing can be wrong with it
    assert server.get("/health").json()["status"] == "ok"


def test_the_fuzz_leaves_no_operation_out(server: Running) -> None:
    paths = server.get("/openapi.json").json()["paths"]
    assert {f"{method.upper()} {path}" for path, of in paths.items() for method in of} == set(OPERATIONS)


def resident(process: int) -> float:
    text = Path(f"/proc/{process}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) / 1000


def bodies(rng: random.Random) -> tuple[str, dict[str, Any] | None]:
    """What a client may do next."""
    noise = Image.effect_noise((rng.randint(20, 300), rng.randint(20, 300)), 60).convert("RGB")
    return rng.choice(
        [
            ("/search", {"texts": [f"a red sheet {rng.random()}"], "k": 20}),
            ("/search", {"texts": ["red"], "images": [sent(noise, "JPEG")], "minus_texts": [f"{rng.random()}"]}),
            ("/search", {"like": rng.randrange(24), "where": ["label!=x"], "offset": rng.randrange(20)}),
            ("/search", {"images": [sent(noise, "PNG")[:500]]}),
            ("/search", {"texts": ["x" * 5000]}),
            ("/embed", {"texts": [f"{rng.random()}" for _ in range(8)]}),
            (f"/items/{rng.randrange(24)}/thumbnail?side={rng.randrange(16, 700)}", None),
            (f"/items/{rng.randrange(30)}", None),
            ("/explain", {"row": rng.randrange(24), "texts": ["a red sheet"]})
            if rng.random() < 0.2
            else ("/run", None),
        ]
    )


@pytest.mark.slow
def test_a_hundred_clients_meet_no_fault_and_memory_stays_bounded(collection: Path) -> None:
    process = start("serve", collection / "run", "--port", "0", "--seconds", "600", cwd=collection)
    statuses: dict[int, int] = {}

    async def client(seed: int, times: int, session: httpx.AsyncClient) -> None:
        rng = random.Random(seed)
        for _ in range(times):
            path, body = bodies(rng)
            answer = await (session.get(path) if body is None else session.post(path, json=body))
            statuses[answer.status_code] = statuses.get(answer.status_code, 0) + 1
            assert answer.status_code < 500, answer.text

    async def main(address: str, times: int) -> None:
        limits = httpx.Limits(max_connections=100)
        async with httpx.AsyncClient(base_url=address, timeout=600, limits=limits) as session:
            await asyncio.gather(*(client(100 * times + seed, times, session) for seed in range(100)))
        await asyncio.sleep(0.2)  # in which closed connections come to their end

    try:
        assert process.stdout is not None
        address = re.findall(r"http://\S+", process.stdout.readline())[0]
        asyncio.run(main(address, 3))
        warm = resident(process.pid)
        asyncio.run(main(address, 6))
        grown = resident(process.pid) - warm
        assert httpx.get(f"{address}health").json()["status"] == "ok"
    finally:
        process.kill()
        process.communicate()
    assert grown < 100, f"{grown:.0f} MB more than after the first requests"
    assert sum(statuses.values()) == 900
    assert set(statuses) <= {200, 404, 422}


@pytest.mark.slow
def test_bodies_that_are_held_at_a_time_are_bounded(collection: Path) -> None:
    """Forty clients begin a body of almost the limit and do not end it: those beyond the bound are to come again."""

    async def hold(address: str) -> int:
        host, port = address.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999999\r\n\r\n"
        writer.write(head + b" " * 900_000)
        status = (await reader.readline()).split()
        writer.close()
        return int(status[1])

    async def main(address: str) -> list[int]:
        return await asyncio.gather(*(hold(address) for _ in range(40)))

    with running(collection / "run", dataclasses.replace(SMALL, seconds=2.0)) as server:
        statuses = asyncio.run(main(server.address))
        assert set(statuses) == {408, 503}
        assert statuses.count(408) <= 8
        assert server.found(texts=["red"], k=1)
        assert json.loads(server.get("/health").text)["status"] == "ok"
