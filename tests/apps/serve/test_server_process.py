"""`deixis serve` as a process: when it listens it says where, and it ends when it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.commands import SOURCE, deixis, start


@contextlib.contextmanager
def served(run: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The process, and the address that it printed."""
    process = start("serve", run, "--port", "0", *flags, cwd=run.parent)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, line + (process.stderr.read() if process.stderr else "")
        yield process, re.findall(r"http://\S+", line)[0]
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_it_is_told_to_though_clients_hold_on_and_the_model_is_at_work(
    number: signal.Signals, collection: Path
) -> None:
    with served(collection / "run", "--seconds", "600") as (process, address), httpx.Client(base_url=address) as client:
        assert client.get("/health").json()["status"] == "ok"
        host, port = address.removeprefix("http://").strip("/").split(":")
        with socket.create_connection((host, int(port))) as idle:
            idle.sendall(b"POST /search HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
            process.send_signal(number)
            out, err = process.communicate(timeout=200)
    assert process.returncode == 128 + number
    assert "Stopped." in err
    assert "Traceback" not in err + out


@pytest.mark.slow
def test_a_port_in_use_is_reported_with_the_cure_before_the_model_is_loaded(collection: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        code, out, err = deixis("serve", collection / "run", "--port", str(other.getsockname()[1]))
    assert (code, out) == (2, "")
    assert "is in use" in err
    assert "--port 0" in err


def test_an_address_that_cannot_be_had_is_told(collection: Path, tmp_path: Path) -> None:
    for flags, said in (
        (("--host", "192.0.2.1", "--token", "auto"), "be listened on"),
        (("--port", "99999"), "no port 99999"),
        (("--port", "-1"), "no port -1"),
        (("--folder", str(tmp_path / "none")), "no folder"),
    ):
        code, out, err = deixis("serve", collection / "run", *flags)
        assert (code, out) == (2, "")
        assert said in err
    assert "no folder" in deixis("serve", tmp_path / "nowhere").err


@pytest.mark.slow
def test_a_token_is_made_up_and_printed_in_the_address(collection: Path) -> None:
    with served(collection / "run", "--host", "0.0.0.0", "--token", "auto") as (_, address):
        token = re.findall(r"token=(\S+)", address)[0]
        here = address.replace("0.0.0.0", "127.0.0.1")
        assert len(token) >= 32
        with httpx.Client(follow_redirects=True) as browser:
            assert browser.get(here.partition("?")[0]).status_code == 401
            assert browser.get(here).status_code == 200


@pytest.mark.slow
def test_without_the_extra_it_says_how_to_install_it(collection: Path) -> None:
    hide = "import sys; sys.modules['fastapi'] = None; "
    code = f"{hide}sys.path.insert(0, {str(SOURCE)!r}); from deixis.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", str(collection / "run")], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "pip install 'deixis[serve]'" in done.stderr


@pytest.mark.slow
def test_uploads_never_touch_the_disk(collection: Path, tmp_path: Path) -> None:
    """All that the process opens for writing, while pictures are sent to it, is told by the audit hook of Python."""
    log = tmp_path / "opened.jsonl"
    hook = (
        "import sys, json, os\n"
        f"log = os.open({str(log)!r}, os.O_CREAT | os.O_WRONLY | os.O_APPEND)\n"
        "def seen(event, args):\n"
        "    if event == 'open' and (('w' in str(args[1]) or 'a' in str(args[1]) or '+' in str(args[1]))"
        " or (args[2] or 0) & (os.O_WRONLY | os.O_RDWR)):\n"
        "        os.write(log, (json.dumps(str(args[0])) + '\\n').encode())\n"
        "sys.addaudithook(seen)\n"
        f"sys.path.insert(0, {str(SOURCE)!r})\n"
        "from deixis.cli import main\nmain()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hook, "serve", str(collection / "run"), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        address = re.findall(r"http://\S+", process.stdout.readline())[0]
        before = log.read_text()
        data = [(collection / "pictures").rglob("07.png").__next__().read_bytes()]
        with httpx.Client(base_url=address) as client:
            from tests.apps.serve.serving import encoded

            body = {"images": [encoded(data[0])], "texts": ["red"]}
            assert client.post("/search", json=body).status_code == 200
            assert client.post("/explain", json={"image": encoded(data[0]), "texts": ["red"]}).status_code == 200
            assert client.post("/search", files={"images": ("a.png", data[0] * 9999)}).status_code in (413, 422)
    finally:
        process.kill()
        process.communicate()
    written = [json.loads(line) for line in log.read_text().removeprefix(before).splitlines()]
    assert [each for each in written if "__pycache__" not in each] == []
