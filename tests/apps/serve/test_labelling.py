"""Labelling over the server's routes: order, suggestions, saving, and a server that is killed."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest

from deixis import zoo
from deixis.apps.label.label_table import Entry, LabelTable
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.labelling.label_queue import LabelQueue
from deixis.apps.serve.settings import ServeSettings
from deixis.indexing.changes import build
from tests.apps.serve.serving import Running, problem, running
from tests.indexes import random

DEIXIS = [sys.executable, "-c", "import sys; from deixis.cli import main; sys.exit(main())"]


@pytest.fixture
def labelling(collection: Path, tmp_path: Path) -> Iterator[Running]:
    """A server of the small collection with a table that lists two of its pictures."""
    items = [item for _, item in Searcher(collection / "run").index.items()]
    with open(tmp_path / "labels.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["path", "label"], [items[9]["path"], ""], [items[4]["path"], "first"]])
    with running(collection / "run", ServeSettings(labels=str(tmp_path / "labels.csv"))) as started:
        yield started


def rows_of(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_pictures_of_the_table_come_first_and_each_label_is_on_the_disk_when_it_is_answered(
    labelling: Running, tmp_path: Path
) -> None:
    queue = labelling.get("/labels/queue", params={"k": 3}).json()
    assert [each["item"]["row"] for each in queue] == [9, 4, 0]
    assert [each["label"] for each in queue] == ["", "first", ""]
    told = labelling.post("/labels/9", {"label": "  a new\nclass "}).json()
    assert told == {"file": "labels.csv", "total": 24, "label": 2, "caption": 0}
    assert rows_of(tmp_path / "labels.csv")[0]["label"] == "a new class"
    waiting = labelling.get("/labels/queue", params={"start": 1, "k": 60, "without": "label"}).json()
    assert len(waiting) == 22
    assert {9, 4}.isdisjoint(each["item"]["row"] for each in waiting)
    assert labelling.get("/run").json()["labels"] == "labels.csv"


def test_the_class_of_the_nearest_labelled_picture_is_suggested_first(labelling: Running) -> None:
    index = labelling.desk.index()
    scores = np.asarray(index.vectors, np.float32) @ index.vector(0)
    others = {row for row, _ in index.items()} - {0, 4}
    near, *_, far = (int(row) for row in np.argsort(-scores) if row in others)
    assert labelling.post(f"/labels/{far}", {"label": "far", "caption": "a far thing"}).status_code == 200
    labelling.post(f"/labels/{near}", {"label": "near", "caption": "a near thing"})
    own = index.item(0)["label"]
    suggested = labelling.get("/labels/suggestions/0").json()
    assert suggested["labels"][:2] == [own, "near"]
    assert "far" in suggested["labels"]
    assert suggested["captions"] == ["a near thing", "a far thing"]
    assert labelling.get("/labels/classes", params={"q": "ne"}).json() == ["near"]


def test_a_label_of_another_window_is_not_replaced_unasked(labelling: Running, tmp_path: Path) -> None:
    LabelTable(tmp_path / "labels.csv").save(labelling.desk.item(9)["path"], Entry(label="theirs"), Entry())
    assert "theirs" in problem(labelling.post("/labels/9", {"label": "ours"}), 409)
    assert labelling.post("/labels/9", {"label": "ours", "before_label": "theirs"}).status_code == 200
    assert rows_of(tmp_path / "labels.csv")[0]["label"] == "ours"


def test_labels_go_nowhere_else(labelling: Running, server: Running, tmp_path: Path) -> None:
    assert "--labels" in problem(server.post("/labels/3", {"label": "x"}), 404)
    assert problem(labelling.post("/labels/99", {"label": "x"}), 404)
    assert problem(labelling.post("/labels/3", {"label": "x", "path": "/tmp/other.csv"}), 422)
    assert problem(labelling.post("/labels/3", {"label": "x"}, headers={"Origin": "http://evil.example"}), 403)
    (tmp_path / "labels.csv").chmod(0o444)
    assert "read-only" in problem(labelling.post("/labels/3", {"label": "x"}), 422)
    assert [each["label"] for each in rows_of(tmp_path / "labels.csv")] == ["", "first"]


@pytest.mark.slow
def test_ten_thousand_classes_are_no_reason_to_wait(tmp_path: Path) -> None:
    count = 20_000
    items = [{"id": f"{i}.png", "path": f"/photos/{i}.png", "captions": [], "label": None} for i in range(count)]
    index = build(tmp_path / "index", random(count, 64), items, model="m", fingerprint="f")
    with open(tmp_path / "labels.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label"])
        writer.writerows([f"/photos/{i}.png", f"class {i}" if i < 10_000 else ""] for i in range(count))
    queue = LabelQueue(LabelTable(tmp_path / "labels.csv"))

    def seconds(work: object) -> float:
        begun = time.process_time()  # of this process alone: a busy machine is no fault
        work()  # type: ignore[operator]
        return time.process_time() - begun

    encoder = zoo.load("tiny")
    queue.classes(index)
    assert queue.matches(index, "class 999") == ["class 999", *(f"class 999{i}" for i in range(10))]
    assert seconds(lambda: queue.matches(index, "class 99")) < 0.5
    assert seconds(lambda: queue.suggestions(index, 15_000, encoder)) < 0.5
    assert len(queue.suggestions(index, 15_000, encoder).labels) == 9
    assert seconds(lambda: queue.save(index, 15_000, Entry(label="class 1"), Entry())) < 1.0


@pytest.mark.slow
def test_a_server_that_is_killed_has_lost_no_label_that_it_answered(collection: Path, tmp_path: Path) -> None:
    command = [*DEIXIS, "serve", collection / "run", "--port", "0", "--labels", "labels.csv"]
    environment = {**os.environ, "DEIXIS_CACHE": str(collection / "cache")}
    answered: list[str] = []
    for turn in range(2):
        with subprocess.Popen(
            list(map(str, command)), cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            assert address is not None
            with httpx.Client(base_url=address[0]) as client:
                for row in range(turn * 12, turn * 12 + 8):
                    assert client.post(f"/labels/{row}", json={"label": f"class {row}"}).status_code == 200
                    answered.append(f"class {row}")
                process.send_signal(signal.SIGKILL)
            process.wait()
    assert [each["label"] for each in rows_of(tmp_path / "labels.csv")] == answered
    assert os.listdir(tmp_path) == ["labels.csv"]
