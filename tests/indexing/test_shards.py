"""Folders that are searched by several processes answer as one index that holds all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import changes, shards
from deixis.indexing.changes import build
from deixis.indexing.exact import Hits
from deixis.indexing.index import Index
from deixis.indexing.shards import IndexShards


def made(folder: Path, vectors: np.ndarray, start: int = 0, fingerprint: str = "f") -> Path:
    items = [{"id": f"{start + i}"} for i in range(len(vectors))]
    build(folder, vectors, items, model="m", fingerprint=fingerprint)
    return folder


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    """Three folders; the same vector is in each, and rows were removed from the second."""
    vectors = np.random.default_rng(0).normal(size=(60, 8)).astype(np.float32)
    vectors[[5, 25, 45]] = vectors[0]
    cuts = ((0, 20), (20, 25), (25, 60))
    folders = [made(tmp_path / f"{start}", vectors[start:stop], start) for start, stop in cuts]
    made(tmp_path / "whole", vectors)
    for folder in (folders[1], tmp_path / "whole"):
        changes.remove(folder, ["21"])
    return folders


class Here:
    """In place of processes: the same, at once."""

    def __init__(self, *_: object) -> None: ...

    def submit(self, function: object, *arguments: object) -> object:
        hits = shards._search(*arguments)  # type: ignore[arg-type]
        return type("Done", (), {"result": lambda self: hits})()

    def shutdown(self, cancel_futures: bool) -> None:
        shards._opened.clear()


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(shards.concurrent.futures, "ProcessPoolExecutor", Here)
    yield
    shards._opened.clear()


def answers(found: shards.ShardHits, opened: IndexShards) -> list[list[str]]:
    pairs = [zip(*each, strict=True) for each in zip(found.shards, found.rows, strict=True)]
    return [[opened.item(int(shard), int(row))["id"] for shard, row in each] for each in pairs]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("k", [1, 7, 100])
def test_answers_are_those_of_one_index_with_all_rows(parts: list[Path], k: int) -> None:
    whole = Index.open(parts[0].parent / "whole")
    queries = np.concatenate([whole.vectors[:3], np.random.default_rng(1).normal(size=(4, 8))])
    wanted: Hits = whole.search(queries, k)
    with IndexShards(parts) as opened:
        found = opened.search(queries, k)
        assert np.array_equal(found.scores, wanted.scores)
        assert answers(found, opened) == [[whole.item(int(row))["id"] for row in each] for each in wanted.rows]
        assert len(opened) == len(whole) == 59


@pytest.mark.slow
def test_processes_give_the_same_and_one_that_is_ended_is_told(parts: list[Path]) -> None:
    whole = Index.open(parts[0].parent / "whole")
    with IndexShards(parts, processes=2) as opened:
        found, wanted = opened.search(whole.vectors[:3], 5), whole.search(whole.vectors[:3], 5)
        assert np.array_equal(found.scores, wanted.scores)
        for process in opened._pool._processes.values():
            process.kill()
        with pytest.raises(DeixisError, match=r"was ended from outside.*Open the shards again"):
            opened.search(whole.vectors[:3], 5)


@pytest.mark.usefixtures("here")
def test_what_does_not_belong_together_or_was_changed_is_refused(parts: list[Path], tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match="No index folder"):
        IndexShards([])
    with pytest.raises(DeixisError, match="is no index"):
        IndexShards([tmp_path / "nowhere"])
    other = made(tmp_path / "other", np.eye(8, dtype=np.float32), fingerprint="g")
    with pytest.raises(DeixisError, match="can't be compared"):
        IndexShards([parts[0], other])
    with IndexShards(parts) as opened:
        changes.remove(parts[2], ["30"])
        with pytest.raises(DeixisError, match=r"has been changed meanwhile.*Open the shards again"):
            opened.search(np.ones(8), 3)
        with pytest.raises(DeixisError, match="There is no folder 9"):
            opened.item(9, 0)
