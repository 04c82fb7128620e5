"""Approximate search, for collections beyond about a million: a graph finds candidates, which are scored exactly.

    approximate-STATE.usearch   the graph (HNSW, by the package usearch), with a rougher copy of the vectors
    approximate-STATE.json      how it was made, the recall that was measured, size and SHA-256 of the graph

Both lie in the index folder. STATE is a hash of the manifest, so that no graph is ever used for an index that has been
changed since it was built; whoever changes the index removes them. Scores are those of the exact search to the last
bit; what may be missing are answers, and how many are is measured on the collection's own vectors when the graph is
built.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from deixis.errors import DeixisError, require
from deixis.files import atomic_path, clear_partial, content_hash, write_json
from deixis.indexing import exact
from deixis.indexing.exact import Hits
from deixis.indexing.folder import graph_name, locked, sync
from deixis.indexing.index import Index
from deixis.indexing.segments import live_rows, unit

__all__ = ["EXPANSIONS", "Approximate", "GraphSettings", "build", "package"]

EXPANSIONS = (64, 128, 256, 512, 1024)
"""How many nodes a search keeps in hand; tried from the first on until the wanted recall is reached."""

_DTYPES = {"float16": "f16", "float32": "f32", "int8": "i8"}
_FEW = 20_000  # rows that pass a filter: scored one and all as quickly
_MOST = 4096  # candidates a query, beyond which the exact search is as quick


@dataclasses.dataclass(frozen=True)
class GraphSettings:
    """How the graph is made.

    Attributes:
        connectivity: links of a node; more cost space, and find more.
        expansion: nodes kept in hand while a vector is put in; more cost time once, and find more.
        dtype: of the vectors in the graph, `float16`, `float32` or `int8`; they choose candidates only.
        recall: the wanted share of the true answers; the searches keep as many nodes in hand as that takes.
        queries: how many of the collection's own vectors it is measured with.
        k: answers a query while measuring.
    """

    connectivity: int = 16
    expansion: int = 128
    dtype: str = "float16"
    recall: float = 0.98
    queries: int = 200
    k: int = 10

    def __post_init__(self) -> None:
        if min(self.connectivity, self.expansion, self.queries, self.k) < 1 or not 0 < self.recall <= 1:
            raise DeixisError(
                f"A graph can't be made with {self}.",
                "Connectivity, expansion, queries and k are at least 1, recall is a share above 0.",
            )
        if self.dtype not in _DTYPES:
            raise DeixisError(f"A graph can't hold vectors as {self.dtype!r}.", f"Choose of {', '.join(_DTYPES)}.")


class Approximate:
    """The graph of an index, mapped; threads may share it.

    Attributes:
        index: whose graph it is.
        facts: what `approximate-STATE.json` tells.
        expansion: nodes that a search keeps in hand; may be set.
    """

    def __init__(self, index: Index, facts: Mapping[str, Any], graph: Any) -> None:
        self.index, self.facts, self._graph = index, facts, graph
        self.expansion = int(facts.get("expansion_search", EXPANSIONS[0]))
        self._lock = threading.Lock()

    @classmethod
    def open(cls, index: Index, verify: bool = False) -> Approximate | None:
        """The graph of an index as it is now; None where there is none, or usearch is not installed.

        Args:
            index: an opened index; a graph that was built before its last change does not count.
            verify: also read the graph whole and compare its hash, about a second a gigabyte.

        Raises:
            DeixisError: the graph is damaged.
        """
        place = index.folder / graph_name(index.source, "usearch")
        try:
            facts = json.loads((index.folder / graph_name(index.source, "json")).read_bytes())
            size = place.stat().st_size
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise _damaged(place) from error
        if not isinstance(facts, dict) or facts.get("bytes") != size:
            raise _damaged(place)
        if verify and content_hash(place) != facts.get("sha256"):
            raise _damaged(place)
        try:
            usearch = package()
        except DeixisError:
            return None
        try:
            graph = usearch.Index.restore(os.fspath(place), view=True, enable_key_lookups=False)
        except FileNotFoundError:
            return None
        except (RuntimeError, ValueError) as error:
            raise _damaged(place) from error
        if graph is None or len(graph) != len(index) or graph.ndim != index.width:
            raise _damaged(place)
        return cls(index, facts, graph)

    @property
    def recalls(self) -> dict[int, float]:
        """The recall that was measured when the graph was built, for each expansion that was tried."""
        return {int(each): float(share) for each, share in self.facts["recalls"].items()}

    @property
    def sentence(self) -> str:
        """What was measured, in words."""
        told = ", ".join(f"{share:.1%} with {each}" for each, share in self.recalls.items())
        wanted, got = float(self.facts["recall"]), self.recalls[self.expansion]
        short = (
            "" if got >= wanted else f" That is less than the {wanted:.1%} required: raise connectivity and expansion."
        )
        return (
            f"Of the {self.facts['k']} nearest neighbours of {self.facts['queries']} vectors of the index itself, the "
            f"graph returns {told} candidates; searches use {self.expansion}.{short}"
        )

    def search(
        self,
        queries: Float[np.ndarray, "Q D"] | Float[np.ndarray, " D"],
        k: int = 10,
        *,
        where: Bool[np.ndarray, " N"] | None = None,
    ) -> Hits:
        """Nearly the k rows of highest cosine similarity, with their exact scores; arguments as `Index.search`.

        A filter that few rows pass, and a query for which the graph gives too few answers, are searched exactly.
        """
        asked = np.atleast_2d(queries)
        self.index._refuse(asked, k, where, None)
        live = self.index.live
        wanted = live if where is None else where if live is None else where & live
        count = self.index.rows if wanted is None else int(np.count_nonzero(wanted))
        k = min(k, count)
        take = self._candidates_for(k, count)
        if not len(asked) or not count or take > _MOST or (count < len(self.index) and count <= _FEW):
            return self.index.search(asked, max(k, 1), where=where)
        return self._searched(asked, k, wanted, take)

    def _candidates_for(self, k: int, count: int) -> int:
        """How many candidates leave k after a filter that `count` rows pass, and after the rougher scores."""
        return min(len(self.index), int((2 * k + 16) * len(self.index) / max(count, 1)))

    def _searched(
        self, asked: Float[np.ndarray, "Q D"], k: int, wanted: Bool[np.ndarray, " N"] | None, take: int
    ) -> Hits:
        queries = unit(asked, "Query")
        with self._lock:  # usearch keeps one working space a thread of its own, not one a caller
            self._graph.expansion_search = self.expansion
            matches = self._graph.search(queries, take)
        rows = np.asarray(matches.keys).reshape(len(queries), -1).astype(np.int64)
        found = np.arange(rows.shape[1]) < np.reshape(matches.counts if len(queries) > 1 else len(matches), (-1, 1))
        if wanted is not None:
            found &= wanted[np.where(found, rows, 0)]
        columns, places = np.nonzero(found)
        hits = _best(self.index, queries, columns, rows[columns, places], k)
        short = np.flatnonzero(found.sum(axis=1) < k)
        if len(short):
            again = self.index.search(asked[short], k, where=wanted)
            hits.scores[short], hits.rows[short] = again
        return hits

    def recall(self, queries: Float[np.ndarray, "Q D"] | None = None, n: int = 200, k: int = 10) -> float:
        """The share of the k best answers that the graph finds with the present `expansion`.

        Answers that score as high as the k-th count as right, since of equal ones any will do.

        Args:
            queries: what is asked; None takes n vectors of the collection, each left out of its own answers. Words are
                a harder question than pictures to a graph of pictures: give some to know.
            n: how many.
            k: answers a query.
        """
        return self._recall(*_truth(self.index, queries, n, k))

    def _recall(self, queries: np.ndarray, own: np.ndarray, floor: np.ndarray, k: int) -> float:
        wanted = k + int(len(own) > 0)
        scores, rows = self.search(queries, wanted)
        right = (scores >= floor[:, None]).sum(axis=1)
        if len(own):
            right = right - (rows == own[:, None]).any(axis=1)
        return float(np.minimum(right, k).mean() / k)


def build(
    index: Index, settings: GraphSettings | None = None, *, progress: Callable[[int, int], None] | None = None
) -> Approximate:
    """Builds the graph of an index, measures it, and puts it beside the index; one that is there is replaced.

    The index can be searched meanwhile, not changed.

    Args:
        index: an opened index.
        settings: see there.
        progress: told (done, total) now and then.

    Raises:
        DeixisError: usearch is not installed, the index is empty, has been changed since it was opened or is being
            changed, or the disk is full.
    """
    settings = settings or GraphSettings()
    usearch = package()
    if not len(index):
        raise DeixisError(f"The index {index.folder} is empty.", "Add something first.")
    if index.directions is not None:
        raise DeixisError("A graph is built on whole vectors.", "Make the index without --dims.")
    with locked(index.folder):
        if index.changed():
            raise DeixisError(f"The index {index.folder} was changed after it was opened.", "Open it again.")
        graph = usearch.Index(
            ndim=index.width,
            metric="ip",
            dtype=_DTYPES[settings.dtype],
            connectivity=settings.connectivity,
            expansion_add=settings.expansion,
            enable_key_lookups=False,
        )
        _fill(graph, index, progress or (lambda done, total: None))
        expansion, recalls = _measured(Approximate(index, {}, graph), settings)
        facts = {**dataclasses.asdict(settings), "expansion_search": expansion, "recalls": recalls}
        _write(index, graph, facts)
    made = Approximate.open(index)
    assert made is not None
    return made


def package() -> Any:
    """usearch, or the error that says how to install it."""
    return require("usearch.index", "search", "search approximately")


def _damaged(place: Path) -> DeixisError:
    return DeixisError(
        f"The graph {place} is damaged.", f"Delete {place.with_suffix('.json').name} beside it, or build it again."
    )


def _fill(graph: Any, index: Index, progress: Callable[[int, int], None]) -> None:
    """Puts in every vector that is left; the first ones by one thread.

    usearch's threads, adding side by side, leave some nodes without a link that leads to them: of 100 vectors one in
    every third graph, of 10,000 two to five (usearch 2.26, two threads). By one thread none is lost and the graph is
    the same each time, at twice the time on two cores; what is lost of a large graph is in the recall that is measured.
    """
    for numbers, part in live_rows(index.segments, index.live):
        threads = 1 if len(graph) < _FEW else 0
        graph.add(numbers.astype(np.uint64), exact.widened(part), threads=threads)
        progress(len(graph), len(index))


def _measured(approximate: Approximate, settings: GraphSettings) -> tuple[int, dict[str, float]]:
    """The least expansion that reaches the wanted recall, else the largest, and what each that was tried reaches."""
    truth = _truth(approximate.index, None, settings.queries, settings.k)
    recalls: dict[str, float] = {}
    for expansion in EXPANSIONS:
        approximate.expansion = expansion
        recalls[str(expansion)] = approximate._recall(*truth)
        if recalls[str(expansion)] >= settings.recall:
            break
    return approximate.expansion, recalls


def _truth(
    index: Index, queries: np.ndarray | None, n: int, k: int
) -> tuple[np.ndarray, Int64[np.ndarray, " _"], Float32[np.ndarray, " Q"], int]:
    """Queries, their own rows where they have some, the score of the last right answer, and how many are right."""
    own = np.zeros(0, np.int64)
    if queries is None:
        rows = index.row_numbers
        own = np.sort(np.random.default_rng(0).choice(rows, min(n, len(rows)), replace=False))
        queries = np.stack([index.vector(int(row)) for row in own])
    k = max(1, min(k, len(index) - int(len(own) > 0)))
    scores = index.search(queries, k + int(len(own) > 0)).scores
    return queries, own, scores[:, -1], k


def _best(
    index: Index,
    queries: Float32[np.ndarray, "Q D"],
    columns: Int64[np.ndarray, " P"],
    rows: Int64[np.ndarray, " P"],
    k: int,
) -> Hits:
    """The k best of the candidates of each query, by exact scores; a query with fewer gets rows of -1 behind them."""
    wide, scores = queries.astype(np.float64), np.empty(len(rows), np.float32)
    for segment in index.segments:
        inside = np.flatnonzero((rows >= segment.start) & (rows < segment.start + len(segment)))
        scores[inside] = exact.rescored(segment.vectors, rows[inside] - segment.start, wide, columns[inside])
    order = np.lexsort((rows, -scores, columns))
    columns, rows, scores = columns[order], rows[order], scores[order]
    rank = np.arange(len(columns)) - np.searchsorted(columns, columns)
    best = rank < k
    hits = Hits(np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64))
    hits.scores[columns[best], rank[best]] = scores[best]
    hits.rows[columns[best], rank[best]] = rows[best]
    return hits


def _write(index: Index, graph: Any, facts: Mapping[str, Any]) -> None:
    place = index.folder / graph_name(index.source, "usearch")
    told = place.with_suffix(".json")
    for each in (place, told):
        clear_partial(each)  # nobody else writes here: the lock is held
    try:
        with contextlib.suppress(FileNotFoundError):
            told.unlink()  # first, so that it never tells of another graph
        with atomic_path(place) as temporary:
            graph.save(os.fspath(temporary))
        facts = {**facts, "bytes": place.stat().st_size, "sha256": content_hash(place)}
        sync(index.folder)
        write_json(told, facts)
    except (RuntimeError, OSError) as error:  # usearch tells of a full disk by the former
        place.unlink(missing_ok=True)
        why = getattr(error, "strerror", None) or error
        raise DeixisError(f"The graph can't be written to {index.folder}: {why}.", "Free some space there.") from error
