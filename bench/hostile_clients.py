"""Clients that do not behave: slow ones, half requests, thousands of connections, pictures that are none."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import random
import resource
import ssl
import struct
import zlib
from collections import Counter
from typing import Any

import httpx
from PIL import Image

__all__ = ["all_of_them", "hostile_pictures", "session"]

_SLOW, _PICTURES = 50, 300
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # made once: httpx would read all certificates for each client


def session(address: str) -> httpx.AsyncClient:
    """A client of its own, as each person has.

    Args:
        address: of the server.
    """
    return httpx.AsyncClient(base_url=address, timeout=120, verify=_NO_TLS)


def all_of_them(address: str, connections: int) -> dict[str, Any]:
    """How the server fared, as a part of a row.

    Args:
        address: of the server.
        connections: that are opened at a time.
    """
    return asyncio.run(_all(address, connections))


async def _all(address: str, connections: int) -> dict[str, Any]:
    slow = await _slow_ones(address)
    flood = await _flood(address, connections)
    statuses = Counter[int]()
    async with session(address) as client:
        for picture in hostile_pictures(_PICTURES):
            body = {"images": [base64.b64encode(picture).decode()]}
            statuses[(await client.post("/search", json=body)).status_code] += 1
        answered = (await client.post("/search", json={"texts": ["a bird"]})).status_code
    return {
        **slow,
        **flood,
        "hostile_pictures": statuses.total(),
        "hostile_refused": sum(count for status, count in statuses.items() if 400 <= status < 500),
        "hostile_errors": sum(count for status, count in statuses.items() if status >= 500),
        "answers_in_the_end": answered == 200,
    }


def _place(address: str) -> tuple[str, int]:
    host, _, port = address.removeprefix("http://").partition(":")
    return host, int(port)


async def _slow_ones(address: str) -> dict[str, int]:
    """Clients that send a byte now and then, and others that stop half-way; a good one asks beside them."""
    head = b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n"
    opened = [await asyncio.open_connection(*_place(address)) for _ in range(2 * _SLOW)]
    answered = 0
    async with session(address) as client:
        for number in range(20):
            for slow, (_, writer) in enumerate(opened):
                with contextlib.suppress(OSError):
                    writer.write(head[number : number + 1] if slow < _SLOW else head + b"{" if not number else b"")
            answered += (await client.post("/search", json={"texts": [f"a bird {number}"]})).status_code == 200
    for _, writer in opened:
        writer.close()
    return {"slow_clients": _SLOW, "half_requests": _SLOW, "answered_beside": answered, "asked_beside": 20}


async def _flood(address: str, wanted: int) -> dict[str, int]:
    """Connections that stay open; a client that was there before asks on, and a new one once they are closed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted + 200
    resource.setrlimit(resource.RLIMIT_NOFILE, (most if hard == resource.RLIM_INFINITY else min(hard, most), hard))
    opened: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    failed = 0
    async with session(address) as before:
        await before.get("/health")
        for _ in range(wanted):
            try:
                opened.append(await asyncio.wait_for(asyncio.open_connection(*_place(address)), 10))
            except OSError:  # with TimeoutError
                failed += 1
        beside = (await before.get("/health")).status_code == 200
        said = await asyncio.gather(*(_refusal(reader) for reader, _ in opened))
        for _, writer in opened:
            writer.close()
    await asyncio.sleep(1)
    async with session(address) as after:
        again = (await after.get("/health")).status_code == 200
    return {
        "connections": len(opened),
        "connections_failed": failed,
        "refused_with_503": said.count(503),
        "cut_off": said.count(-1),
        "answered_during": int(beside),
        "answered_after": int(again),
    }


async def _refusal(reader: asyncio.StreamReader) -> int:
    """503 where the server said so, 0 where it holds the connection, -1 where it was cut without a word."""
    try:
        line = await asyncio.wait_for(reader.readline(), 2)
    except TimeoutError:
        return 0
    except OSError:
        return -1
    return 503 if line.startswith(b"HTTP/1.1 503") else -1


def hostile_pictures(count: int) -> list[bytes]:
    """Files that claim to be pictures: cut, damaged, of enormous size, of other kinds.

    Args:
        count: how many.
    """
    rng = random.Random(0)
    good = {}
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"):
        with io.BytesIO() as memory:
            Image.frombytes("RGB", (64, 48), rng.randbytes(64 * 48 * 3)).save(memory, kind)
            good[kind] = memory.getvalue()

    def one(number: int) -> bytes:
        data = bytearray(good[rng.choice(list(good))])
        match number % 6:
            case 0:
                return bytes(data[: rng.randrange(1, len(data) // 2)])
            case 1:
                for _ in range(rng.randrange(1, 60)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                return bytes(data)
            case 2:
                return _enormous(rng.choice((30_000, 100_000, 2**31 - 1)))
            case 3:
                return rng.randbytes(rng.randrange(0, 4000))
            case 4:
                return bytes(data[:20]) + rng.randbytes(2000)
            case _:
                return rng.choice(
                    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n", b"PK\x03\x04", b"\0" * 999)
                )

    return [one(number) for number in range(count)]


def _enormous(side: int) -> bytes:
    """A PNG of some bytes that says it has side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
