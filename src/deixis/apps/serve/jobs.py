"""Folders that the owner named are looked through again when a client asks; one at a time, with progress."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from deixis.apps.serve.errors import RequestError
from deixis.errors import DeixisError

__all__ = ["Jobs", "State", "Update"]

Update = Callable[[str, Callable[[int, int], None]], str]
"""Brings the index up to date with a folder, tells how far it is (done, total), and gives what it did in words."""

_KEPT = 100
_PATIENCE = 2.0


class _Ended(Exception):
    """The server is going down."""


@dataclasses.dataclass
class State:
    """How far a job is."""

    folder: int
    done: int = 0
    total: int = 0
    state: Literal["running", "done", "failed"] = "running"
    message: str = ""


class Jobs:
    """Updates of the index.

    Args:
        folders: that may be looked through, as the owner wrote them.
        update: what does it.
    """

    def __init__(self, folders: Sequence[str], update: Update) -> None:
        self.folders = [(Path(each).resolve().name or each, each) for each in folders]
        self._update, self._states = update, dict[int, State]()
        self._numbers, self._lock = itertools.count(1), threading.Lock()
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def start(self, folder: int) -> int:
        """Begins to look a folder through; while that runs already, it is the same job.

        Raises:
            Refused: there is no such folder, or another is being indexed.
        """
        if not 0 <= folder < len(self.folders):
            raise RequestError(404, f"There is no folder {folder}.", "GET /folders lists those that the owner named.")
        with self._lock:
            for number, state in self._states.items():
                if state.state == "running" and state.folder == folder:
                    return number
                if state.state == "running":
                    name = self.folders[state.folder][0]
                    raise RequestError(429, f"{name} is being indexed.", "Ask when that is done.", {"Retry-After": "5"})
            number, state = next(self._numbers), State(folder)
            self._states[number] = state
            for old in list(self._states)[:-_KEPT]:
                del self._states[old]
        self._thread = threading.Thread(target=self._run, args=(state,), name="deixis-update", daemon=True)
        self._thread.start()
        return number

    def state(self, job: int) -> State:
        """How far it is.

        Raises:
            Refused: there is no such job.
        """
        try:
            return self._states[job]
        except KeyError:
            raise RequestError(404, f"There is no job {job}.", "POST /folders/{id}/update begins one.") from None

    def stop(self) -> None:
        """Lets the one that runs end at its next step; what it wrote so far is whole."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE)

    def _run(self, state: State) -> None:
        def progress(done: int, total: int) -> None:
            if self._ended.is_set():
                raise _Ended
            state.done, state.total = done, total

        try:
            state.message = self._update(self.folders[state.folder][1], progress)
            state.state = "done"
        except DeixisError as error:
            state.message, state.state = str(error), "failed"
        except _Ended:
            state.message, state.state = "The server was stopped.", "failed"
        except Exception as error:  # whatever it is, the server goes on
            logging.getLogger("deixis.serve").exception("looking through %s", self.folders[state.folder][1])
            state.message, state.state = f"It failed: {type(error).__name__}.", "failed"
