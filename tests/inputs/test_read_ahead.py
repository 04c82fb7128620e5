"""Threads that read ahead end with what they work for, at whatever moment that is stopped."""

from __future__ import annotations

import gc
import threading

import pytest

from deixis.inputs import read_ahead


def test_what_is_stopped_before_all_threads_are_started_ends_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def first_only(thread: threading.Thread) -> None:
        if started:
            raise KeyboardInterrupt
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", first_only)
    with pytest.raises(KeyboardInterrupt):
        read_ahead.Readers(2, lambda item, stopped: item)
    gc.collect()
    started[0].join(5)
    assert not started[0].is_alive()
