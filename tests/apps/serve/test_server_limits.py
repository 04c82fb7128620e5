"""How much may be sent, and what bad input is answered: always in the form of errors, never by a fault inside."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import random
import socket
import struct
import threading
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from deixis.apps.serve.connections import Connection
from tests.apps.serve.serving import SMALL, Running, encoded, problem, running, sent
from tests.pictures import picture
from tests.support import few

# pictures


def png_of(width: int, height: int) -> bytes:
    """A file that says it is so large, and has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def whole() -> bytes:
    with io.BytesIO() as memory:
        Image.effect_noise((60, 40), 50).convert("RGB").save(memory, "JPEG")
        return memory.getvalue()


BAD: dict[str, tuple[str, int, str]] = {
    "truncated": (encoded(whole()[:400]), 422, "is cut short"),
    "bomb": (encoded(png_of(60_000, 60_000)), 413, "--megapixels"),
    "html named .jpg": (encoded(b"<!doctype html><title>404</title>"), 422, "is not an image"),
    "svg": (encoded(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), 422, "is"),
    "empty": ("", 422, "is empty"),
    "no base64": ("!!!", 422, "no base64"),
    "a path": ("/etc/passwd", 422, ""),
    "an address": ("http://127.0.0.1:1/a.png", 422, "no base64"),
    "a data address of nothing": ("data:,", 422, "is empty"),
    "letters of another alphabet": ("фото", 422, "no base64"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("route", few(["/search", "/explain", "/embed"], "/search"))
def test_a_picture_that_is_none_is_refused_with_its_reason(route: str, name: str, server: Running) -> None:
    data, status, said = BAD[name]
    body: dict[str, Any] = {"image": data, "texts": ["red"]} if route == "/explain" else {"images": [data]}
    assert said in problem(server.post(route, body), status)


@pytest.mark.slow
def test_pictures_of_every_kind_are_taken(server: Running) -> None:
    plain = Image.open(io.BytesIO(whole()))
    turned = Image.Exif()
    turned[0x0112] = 6
    kinds = [
        sent(plain.convert("CMYK"), "JPEG"),
        sent(plain.convert("L"), "PNG"),
        sent(plain.convert("RGBA"), "WEBP"),
        sent(plain.quantize(16), "PNG", transparency=0),
        sent(plain, "GIF", save_all=True, append_images=[plain.rotate(90)]),
        sent(plain, "JPEG", exif=turned),
    ]
    for kind in kinds:
        assert server.found(images=[kind], k=1)


@pytest.mark.slow
def test_one_bad_picture_does_not_spoil_a_good_request_beside_it(server: Running) -> None:
    answers: list[Any] = []

    def ask(data: str) -> None:
        answers.append(server.post("/search", {"images": [data]}).status_code)

    pieces = [encoded(whole()), BAD["truncated"][0]] * 4
    threads = [threading.Thread(target=ask, args=(each,)) for each in pieces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [200] * 4 + [422] * 4


# words and numbers


def test_a_text_of_ten_thousand_letters_is_refused_and_one_with_nul_is_words(server: Running) -> None:
    for route in ("/search", "/embed", "/explain"):
        body = {"texts": ["x" * 10_000], **({"row": 1} if route == "/explain" else {})}
        assert "10,000 letters; the limit is 500" in problem(server.post(route, body), 422)
    assert "limit is 500" in problem(server.post("/search", {"texts": ["a"], "minus_texts": ["x" * 501]}), 422)
    for odd in ("a\0b", "röd 🦊 räv", "‮abc", "a" * 500):
        assert server.found(texts=[odd], k=1)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"texts": [" "]}, "empty"),
        ({"minus_texts": ["red"]}, "only has terms to subtract"),
        ({"texts": ["a"] * 65}, "body.texts"),
        ({"images": ["a"] * 17}, "body.images"),
        ({"texts": ["red"], "k": 0}, "body.k"),
        ({"texts": ["red"], "k": 1e9}, "body.k"),
        ({"texts": ["red"], "mix": 1.01}, "body.mix"),
        ({"texts": ["red"], "mix": "x"}, "body.mix"),
        ({"texts": ["red"], "offset": -1}, "body.offset"),
        ({"texts": ["red"], "offset": 10**40}, "body.offset"),
        ({"texts": ["red"], "offset": 9990, "k": 20}, "first 10,000"),
        ({"images": [], "minus_texts": ["red"], "min_relevance": 1.5}, "body.min_relevance"),
        ({"texts": [1]}, "body.texts.0"),
        ({"texts": {"a": 1}}, "body.texts"),
        ({"texts": ["red"], "where": ["nonsense"]}, "nonsense"),
        ([], "body"),
        (None, "body"),
    ],
)
def test_what_makes_no_sense_is_told(body: Any, said: str, server: Running) -> None:
    assert said in problem(server.post("/search", body), 422)


def test_a_row_that_is_not_there_is_no_search(server: Running) -> None:
    assert "no picture 999" in problem(server.post("/search", {"like": 999}), 404)
    assert "no picture 999" in problem(server.post("/explain", {"row": 999, "texts": ["red"]}), 404)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"texts": ["\\ud800"]}',
        b'{"texts": ["red"], "mix": NaN}',
        b'{"texts": ["red"], "k": 1e999}',
        b'{"texts": ["red"], "k": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"texts": ["\xff"]}',
        b"\x00",
        b"",
    ],
)
def test_json_that_is_odd_is_no_fault_inside(raw: bytes, server: Running) -> None:
    answer = server.client.post("/search", content=raw, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)
    assert problem(answer, answer.status_code)


@pytest.mark.slow
def test_forms_and_files_are_not_taken(server: Running) -> None:
    form = server.client.post("/search", files={"images": ("a.png", b"abc")})
    assert problem(form, 422)
    assert problem(server.client.post("/search", content=b"texts=red", headers={"content-type": "text/plain"}), 422)


# bytes


@pytest.mark.slow
def test_bytes_are_counted_as_they_come_whatever_was_announced(server: Running) -> None:
    assert "more than 1 MB" in problem(server.post("/search", {"images": ["A" * 1_100_000]}), 413)

    def streamed() -> Any:
        for _ in range(40):
            yield b" " * 50_000

    assert "more than 1 MB" in problem(server.client.post("/search", content=streamed()), 413)
    with socket.create_connection(server.address.removeprefix("http://").split(":")) as raw:
        raw.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 2000)
        raw.shutdown(socket.SHUT_WR)
        raw.settimeout(5)
        assert raw.recv(100) == b""  # who goes away is not answered
    assert server.get("/health").json()["status"] == "ok"


@pytest.mark.slow
def test_a_picture_just_below_the_limit_of_bytes_and_pixels_is_taken(server: Running) -> None:
    assert server.found(images=[sent(Image.new("RGB", (1000, 1000)))], k=1)
    assert problem(server.post("/search", {"images": [sent(Image.new("RGB", (1001, 1000)))]}), 413)


# time


@pytest.mark.slow
def test_a_body_that_does_not_come_is_not_waited_for(collection: Path) -> None:
    settings = dataclasses.replace(SMALL, seconds=0.3)
    with running(collection / "run", settings) as server:
        host, port = server.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            raw.settimeout(5)
            answer = b"".join(iter(lambda: raw.recv(10_000), b""))
        assert answer.startswith(b"HTTP/1.1 408")
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["cure"]


@pytest.mark.slow
def test_a_connection_that_says_nothing_or_not_enough_is_closed(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "seconds", 0.3)
    with running(collection / "run") as server:
        host, port = server.address.removeprefix("http://").split(":")
        for said in (b"", b"GET /health HTT", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with socket.create_connection((host, int(port)), timeout=60) as raw:
                raw.sendall(said)
                if said.endswith(b"\r\n"):
                    assert raw.recv(10_000).startswith(b"HTTP/1.1 200")
                    raw.sendall(b"GET /hea")
                while raw.recv(10_000):
                    pass
        assert server.get("/health").status_code == 200
        time.sleep(0.5)
        assert server.get("/health").status_code == 200


@pytest.mark.slow
def test_connections_beyond_the_limit_are_told_so_and_those_before_go_on(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Connection, "most", 3)
    with running(collection / "run") as server, contextlib.ExitStack() as stack:
        assert server.get("/health").status_code == 200, "this one stays open"
        host, port = server.address.removeprefix("http://").split(":")
        opened = [stack.enter_context(socket.create_connection((host, int(port)), timeout=60)) for _ in range(4)]
        for raw in opened[2:]:
            answer = b"".join(iter(lambda raw=raw: raw.recv(10_000), b""))
            assert answer.startswith(b"HTTP/1.1 503")
            assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["cure"]
        assert server.get("/health").status_code == 200
        opened[0].close()
        time.sleep(0.2)
        with socket.create_connection((host, int(port)), timeout=60) as raw:
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.recv(10_000).startswith(b"HTTP/1.1 200")


@pytest.mark.slow
@pytest.mark.parametrize("reads", [True, False])
def test_a_client_that_reads_nothing_does_not_outlive_the_server(
    collection: Path, reads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Connection] = []
    begin = Connection.connection_made

    def noted(self: Connection, transport: asyncio.Transport) -> None:
        made.append(self)
        begin(self, transport)

    monkeypatch.setattr(Connection, "connection_made", noted)
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with running(collection / "run") as server:
            host, port = server.address.removeprefix("http://").split(":")
            raw.connect((host, int(port)))
            raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert raw.recv(10_000).startswith(b"HTTP/1.1 200")
            if not reads:
                made[0].loop.call_soon_threadsafe(made[0].transport.write, b"." * 10**7)
                time.sleep(0.1)
        assert all(each.transport.get_extra_info("socket").fileno() == -1 for each in made)


@pytest.mark.slow
def test_a_request_that_takes_too_long_is_told_to_come_later_and_the_next_one_is_answered(
    collection: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(collection / "run", dataclasses.replace(SMALL, seconds=0.5)) as server:
        encoder, hold = server.desk.searcher.encoder, threading.Event()
        encode = encoder.encode_text
        monkeypatch.setattr(encoder, "encode_text", lambda *a, **k: (hold.wait(5), encode(*a, **k))[1])
        answer = server.post("/search", {"texts": ["red"]})
        assert "not done after 0.5 seconds" in problem(answer, 503)
        assert answer.headers["retry-after"]
        hold.set()
        assert server.found(texts=["red"], k=1)
        assert server.desk.gate.inside == 0


@pytest.mark.slow
def test_more_requests_than_may_wait_are_told_to_come_again(collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(collection / "run", dataclasses.replace(SMALL, queue=3)) as server:
        encoder, hold = server.desk.searcher.encoder, threading.Event()
        encode, statuses = encoder.encode_text, []
        monkeypatch.setattr(encoder, "encode_text", lambda *a, **k: (hold.wait(10), encode(*a, **k))[1])

        def ask(number: int) -> None:
            answer = server.post("/search", {"texts": [f"red {number}"]})
            statuses.append(answer.status_code)
            if answer.status_code == 503:
                assert "3 requests wait for the model" in problem(answer, 503)
                assert answer.headers["retry-after"] == "1"

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
        for thread in threads:
            thread.start()
        while len(statuses) < 7:
            time.sleep(0.01)
        assert server.get("/health").json()["status"] == "ok"
        hold.set()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [200] * 3 + [503] * 7
        assert server.found(texts=["red"], k=1)


# pictures of the index that changed


def test_a_picture_that_became_something_else_is_shown_as_gone(server: Running, collection: Path) -> None:
    row = server.found(k=24)[-1]
    path = Path(row["place"])
    kept = path.read_bytes()
    try:
        path.write_text("no picture any more")
        answer = server.get(f"/items/{row['row']}/thumbnail")
        assert (answer.status_code, answer.headers["content-type"]) == (404, "image/svg+xml")
        assert answer.content.startswith(b"<svg")
        path.unlink()
        assert server.get(f"/items/{row['row']}/image").status_code == 404
        assert problem(server.post("/explain", {"row": row["row"], "texts": ["red"]}), 404)
        assert len(server.found(k=24)) == 24
    finally:
        path.write_bytes(kept)
    assert server.get(f"/items/{row['row']}/thumbnail").status_code == 200


@pytest.mark.slow
def test_a_picture_is_made_anew_when_its_file_changes(server: Running, collection: Path) -> None:
    path = Path(server.found(k=1)[0]["place"])
    before, kept = server.get("/items/0/thumbnail"), path.read_bytes()
    try:
        picture(path, (9, 9, 9), random.Random(99))
        after = server.get("/items/0/thumbnail", headers={"If-None-Match": before.headers["etag"]})
        assert after.status_code == 200
        assert after.content != before.content
    finally:
        path.write_bytes(kept)
