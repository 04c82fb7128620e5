"""The graph beside an index: what it may get wrong (answers it misses) and what it may not (everything else)."""

from __future__ import annotations

import dataclasses
import json
import resource
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import approximate as module
from deixis.indexing import changes
from deixis.indexing.approximate import Approximate, GraphSettings, build
from deixis.indexing.changes import build as build_index
from deixis.indexing.folder import locked
from deixis.indexing.index import Index

pytest.importorskip("usearch")
GOOD = GraphSettings(connectivity=8, expansion=32, queries=40)


def vectors_of(count: int, width: int = 24, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(count, 6)) @ rng.normal(size=(6, width)) + 0.3 * rng.normal(size=(count, width))).astype(
        "f4"
    )


def items_of(names: range) -> list[dict[str, Any]]:
    return [{"id": f"image-{name}", "path": f"{name}.png", "label": f"kind {name % 3}"} for name in names]


def made(folder: Path, count: int = 400, **options: Any) -> Index:
    return build_index(folder, vectors_of(count), items_of(range(count)), model="m", fingerprint="f" * 64, **options)


def grown(folder: Path, **options: Any) -> Index:
    """Of two segments, the first 90 rows removed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "SMALL", 0)
        made(folder, **options)
        new = {"vectors": 3 * vectors_of(90, seed=1), "items": items_of(range(1000, 1090))}
        index = changes.change(folder, **new, removed=[f"image-{name}" for name in range(90)])
    assert len(index.segments) == 2
    assert index.rows == len(index) + 90
    return index


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Approximate:
    return build(grown(tmp_path_factory.mktemp("approximate") / "index"), GOOD)


def compare_scores(graph: Approximate) -> None:
    queries = vectors_of(20, seed=2)
    scores, rows = graph.search(queries, 7)
    everything = graph.index.search(queries, graph.index.rows)
    for query in range(20):
        exact = dict(zip(everything.rows[query].tolist(), everything.scores[query].tolist(), strict=True))
        assert scores[query].tolist() == [exact[row] for row in rows[query].tolist()]
        assert len(set(rows[query].tolist())) == 7
        assert (np.diff(scores[query]) <= 0).all()
    np.testing.assert_array_equal(graph.search(queries[3], 7).rows[0], rows[3])


def test_scores_are_those_of_the_exact_search_to_the_last_bit(graph: Approximate) -> None:
    compare_scores(graph)


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["float32", "float16"])
@pytest.mark.parametrize("held", ["float32", "int8"])
def test_whatever_the_graph_and_the_index_hold(tmp_path: Path, stored: str, held: str) -> None:
    compare_scores(build(grown(tmp_path / "index", dtype=stored), dataclasses.replace(GOOD, dtype=held)))


def test_with_enough_nodes_in_hand_nothing_is_missed(graph: Approximate, monkeypatch: pytest.MonkeyPatch) -> None:
    queries = vectors_of(50, seed=3)
    monkeypatch.setattr(graph, "expansion", 500)
    for answered, true in zip(graph.search(queries, 10), graph.index.search(queries, 10), strict=True):
        np.testing.assert_array_equal(answered, true)
    assert graph.recall(queries, k=10) == 1.0


def test_every_vector_finds_itself_however_often_the_graph_is_built(tmp_path: Path) -> None:
    index = made(tmp_path / "index", 100)
    for _ in range(12):  # built by threads side by side, some four of these would lack one
        graph = build(index, GOOD)
        graph.expansion = 100
        assert graph.search(vectors_of(100), 1).rows[:, 0].tolist() == list(range(100))


def test_removed_rows_and_filtered_ones_never_appear_and_all_others_can(
    graph: Approximate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FEW", 0)  # else so small a collection would be searched exactly
    index, queries = graph.index, vectors_of(30, seed=4)
    numbers = np.arange(index.rows)
    for mask in (None, index.where(["label=kind 1"]), numbers < 95, numbers < 90):
        wanted = (numbers >= 90) & (True if mask is None else mask)
        scores, rows = graph.search(queries, 8, where=mask)
        assert rows.shape == (30, min(8, np.count_nonzero(wanted)))
        assert wanted[rows].all()
        exact = index.search(queries, 8, where=mask)
        assert not rows.size or (scores >= exact.scores[:, -1:]).mean() > 0.9


def test_a_graph_is_not_used_once_the_index_has_changed_and_is_gone(tmp_path: Path) -> None:
    index = made(tmp_path / "index", 60)
    assert Approximate.open(index) is None
    build(index, GOOD)
    again = Approximate.open(Index.open(tmp_path / "index"), verify=True)
    assert again is not None
    assert again.recalls == Approximate.open(index).recalls
    changed = changes.remove(tmp_path / "index", ["image-7"])
    assert Approximate.open(changed) is None
    assert not list((tmp_path / "index").glob("*approximate*"))
    with pytest.raises(DeixisError, match=r"was changed after it was opened.*Open it again"):
        build(index, GOOD)
    assert again.search(vectors_of(1, seed=5), 3).rows.shape == (1, 3)  # who has it open goes on with it
    rebuilt = build(changed, GOOD)
    assert 7 not in rebuilt.search(index.vector(7), 59).rows


@pytest.mark.slow
def test_an_index_with_a_graph_is_built_anew_like_any_other(tmp_path: Path) -> None:
    build(made(tmp_path / "index", 60), GOOD)
    made(tmp_path / "index", 61)
    assert sorted(path.name for path in (tmp_path / "index").iterdir() if "approx" in path.name) == []


@pytest.mark.slow
def test_the_recall_is_measured_and_the_least_effort_that_reaches_it_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXPANSIONS", (1, 8, 64, 512))
    monkeypatch.setattr(Approximate, "_candidates_for", lambda self, k, count: k)
    index = made(tmp_path / "index", 1500)
    graph = build(index, GraphSettings(connectivity=3, expansion=8, recall=0.95, queries=60, k=5))
    assert graph.recalls == dict(sorted(graph.recalls.items()))
    *before, last = graph.recalls
    assert last == graph.expansion
    assert all(graph.recalls[each] < 0.95 for each in before)
    assert before, "so loose a graph needs more than one node in hand"
    assert f"{graph.recalls[last]:.1%} with {last}" in graph.sentence
    assert graph.recall(n=60, k=5) == pytest.approx(graph.recalls[last], abs=1e-9)
    # by hand: of the five best other rows, how many are among the graph's
    rows = np.sort(np.random.default_rng(0).choice(index.rows, 60, replace=False))
    own = np.stack([index.vector(int(row)) for row in rows])
    true, found = (set_of(each.search(own, 6).rows, rows) for each in (index, graph))
    by_hand = np.mean([len(a & b) / 5 for a, b in zip(true, found, strict=True)])
    assert graph.recalls[last] == pytest.approx(by_hand, abs=0.01)


def set_of(found: np.ndarray, own: np.ndarray) -> list[set[int]]:
    return [{*line} - {row} for line, row in zip(found.tolist(), own.tolist(), strict=True)]


def test_a_damaged_graph_is_named_with_the_cure(tmp_path: Path) -> None:
    index = made(tmp_path / "index", 60)
    build(index, GOOD)
    [graph] = (tmp_path / "index").glob("*.usearch")
    [told] = (tmp_path / "index").glob("approximate*.json")
    whole, facts = graph.read_bytes(), told.read_bytes()
    for place, harm, verify in (
        (graph, whole[:-9], False),
        (graph, whole[:300] + bytes([whole[300] ^ 1]) + whole[301:], True),
        (told, facts[:20], False),
        (told, b"[]", False),
    ):
        place.write_bytes(harm)
        with pytest.raises(DeixisError, match=r"graph .*\.usearch is damaged.*build it again"):
            Approximate.open(index, verify=verify)
        graph.write_bytes(whole)
        told.write_bytes(facts)
    told.write_text(json.dumps(json.loads(facts) | {"bytes": 500}))
    graph.write_bytes(b"x" * 500)
    with pytest.raises(DeixisError, match="damaged"):
        Approximate.open(index)
    build(index, GOOD)
    assert Approximate.open(index, verify=True) is not None


def test_while_another_process_writes_nothing_is_built(tmp_path: Path) -> None:
    index = made(tmp_path / "index", 30)
    with locked(tmp_path / "index"), pytest.raises(DeixisError, match="Another process is changing"):
        build(index, GOOD)


@pytest.mark.slow
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    index = made(tmp_path / "index", 200)
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, kept[1]))
    try:
        with pytest.raises(DeixisError, match="can't be written"):
            build(index, GOOD)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert not list((tmp_path / "index").glob("*approximate*"))


def test_without_the_package_the_extra_is_named_and_searches_are_exact(
    graph: Approximate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    assert Approximate.open(graph.index) is None
    with pytest.raises(DeixisError, match=r"deixis\[search\]"):
        build(graph.index, GOOD)


@pytest.mark.parametrize("wrong", [{"connectivity": 0}, {"recall": 1.5}, {"dtype": "float8"}, {"k": 0}])
def test_settings_that_make_no_graph(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeixisError, match="A graph can't"):
        GraphSettings(**wrong)


def test_queries_are_refused_as_by_the_exact_search(graph: Approximate) -> None:
    with pytest.raises(DeixisError, match="The query has 3 numbers"):
        graph.search(np.ones(3))
    with pytest.raises(DeixisError, match="all zeros"):
        graph.search(np.zeros(24))
