"""Folders that the owner named are looked through when a client asks: with progress, one at a time, and no others."""

from __future__ import annotations

import dataclasses
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deixis.errors import DeixisError
from tests.apps.serve.serving import SMALL, Running, problem, running
from tests.pictures import picture

pytestmark = pytest.mark.slow


class Folders:
    """An update that goes on when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = threading.Event()
        self.error: Exception | None = None

    def __call__(self, data: str, progress: Callable[[int, int], None]) -> str:
        self.asked.append(data)
        progress(1, 3)
        while not self.go.wait(0.005):
            progress(2, 3)
        if self.error:
            raise self.error
        progress(3, 3)
        return "2 added."


@pytest.fixture(scope="module")
def folders() -> Folders:
    return Folders()


@pytest.fixture(scope="module")
def named(collection: Path, folders: Folders) -> Iterator[Running]:
    settings = dataclasses.replace(SMALL, folder=("one/photos", "two"))
    with running(collection / "run", settings, update=folders) as started:
        yield started


def ended(server: Running, job: int) -> dict[str, Any]:
    while (state := server.get(f"/jobs/{job}").json())["state"] == "running":
        time.sleep(0.005)
    return state


def test_only_folders_that_the_owner_named_can_be_looked_through(named: Running, server: Running) -> None:
    listed = named.get("/folders").json()
    assert listed == [{"id": 0, "name": "photos", "new": None}, {"id": 1, "name": "two", "new": None}]
    assert server.get("/folders").json() == []
    for running_server, number in ((named, 2), (server, 0), (named, "..%2f.."), (named, "%2fetc")):
        answer = running_server.post(f"/folders/{number}/update", {})
        assert problem(answer, answer.status_code)
        assert answer.status_code in (404, 422)
    assert "no job 77" in problem(named.get("/jobs/77"), 404)


def test_one_folder_at_a_time_with_progress(named: Running, folders: Folders) -> None:
    folders.go.clear()
    job = named.post("/folders/0/update", {}).json()["job"]
    assert named.post("/folders/0/update", {}).json()["job"] == job
    assert "photos is being indexed" in problem(named.post("/folders/1/update", {}), 429)
    assert named.get(f"/jobs/{job}").json()["total"] in (0, 3)
    folders.go.set()
    assert ended(named, job) == {"done": 3, "total": 3, "state": "done", "message": "2 added."}
    second = named.post("/folders/1/update", {}).json()["job"]
    assert ended(named, second)["state"] == "done"
    assert folders.asked == ["one/photos", "two"]


def test_what_went_wrong_is_told_in_words_or_not_at_all(named: Running, folders: Folders) -> None:
    folders.go.set()
    for error, said in (
        (DeixisError("The folder is gone.", "Mount it."), "gone. Mount"),
        (OSError("secret"), "OSError"),
    ):
        folders.error = error
        state = ended(named, named.post("/folders/0/update", {}).json()["job"])
        assert state["state"] == "failed"
        assert said in state["message"]
        assert "secret" not in state["message"]
    folders.error = None


def test_new_pictures_of_a_folder_are_found_after_it_was_looked_through(collection: Path, tmp_path: Path) -> None:
    run = shutil.copytree(collection / "run", tmp_path / "run")
    for number in range(3):
        picture(tmp_path / "more" / f"new{number}.png", (10, 90 * number, 200), random.Random(number))
    settings = dataclasses.replace(SMALL, folder=(str(tmp_path / "more"),))
    with running(run, settings) as server:
        state = ended(server, server.post("/folders/0/update", {}).json()["job"])
        assert state["state"] == "done", state
        assert "3 added" in state["message"]
        assert server.get("/health").json() == {"status": "ok", "index": 27}
        assert {each["name"] for each in server.found(k=24, offset=24)} == {f"new{number}.png" for number in range(3)}
        again = ended(server, server.post("/folders/0/update", {}).json()["job"])
        assert "nothing changed" in again["message"]
        shutil.rmtree(tmp_path / "more")
        assert ended(server, server.post("/folders/0/update", {}).json()["job"])["state"] == "failed"
        assert server.get("/health").json() == {"status": "ok", "index": 27}


def test_a_server_that_is_told_to_end_does_not_wait_for_a_folder(collection: Path) -> None:
    folders = Folders()
    begun = time.monotonic()
    with running(collection / "run", dataclasses.replace(SMALL, folder=("one",)), update=folders) as server:
        job = server.post("/folders/0/update", {}).json()["job"]
        jobs = server.desk.jobs
    assert jobs.state(job).state == "failed"
    assert "stopped" in jobs.state(job).message
    assert time.monotonic() - begun < 60
