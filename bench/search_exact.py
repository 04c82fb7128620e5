"""Race `search_exact`: the ten nearest of N vectors, for one query and for 500, against flat indexes of others.

The peers are faiss (IndexFlatIP, and a flat one of float16 against our float16 and against our codes of 8 bits, whose
answers are those of float32), LanceDB without an index, and numpy as
one writes it by hand: all scores, `argpartition`, a sort of what is left. Beside them usearch, whose answers are
approximate: its rows tell the recall. Vectors have 512 numbers but lie near a space of 64, as embeddings do: of plain
noise every search would be as hard as the last.

Each side opens in a process of its own what was stored before, searches once to warm up, and is then timed. Memory is
what the process holds at its peak beyond what its imports hold. Ours maps its files: those pages count against it like
the arrays of the others, though the kernel may take them back, and processes share them. Answers are compared before
anything else: at each rank the score must be that of ours, in float64, to within 1e-6.

`limit` is what a search can't do without: one read of the bytes of all vectors for one query, as many multiplications
of float32 for 500.

At last 1 % more vectors are added to an index, against building it again.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import json
import math
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.rows import (
    LIMIT,
    RESULTS,
    Race,
    Timings,
    added_memory,
    append_row,
    environment,
    limit_row,
    make_row,
    measure_in_turn,
    product_of,
    stream_of,
)
from deixis.indexing import changes
from deixis.indexing.changes import build
from deixis.indexing.index import Index

__all__ = [
    *("CASES", "PEERS", "RACE", "SIDES", "limit", "main"),
    *("measure", "recall", "same", "scores", "store", "vectors"),
]

RACE = Race(
    measures="The ten nearest of N vectors",
    peers=("faiss flat", "faiss flat float16", "LanceDB flat", "numpy", "usearch", "building again", "limit"),
    equal="at each rank the score, in float64, within 1e-6; usearch reports its recall",
)

WIDTH, RANK, QUERIES, K, THREADS, BLOCK = 512, 64, 500, 10, 2, 20_000
CASES = {"20k": 20_000, "60k": 60_000, "200k": 200_000, "1M": 1_000_000}
PEERS = {  # side: whose answers it must give, the peer, the package
    "numpy": ("ours", "numpy", "numpy"),
    "faiss": ("ours", "faiss flat", "faiss-cpu"),
    "lancedb": ("ours", "LanceDB flat", "lancedb"),
    "faiss_half": ("ours_half", "faiss flat float16", "faiss-cpu"),
    "faiss_codes": ("ours_codes", "faiss flat", "faiss-cpu"),
    "usearch": ("ours", "usearch", "usearch"),
    "limit": ("ours", LIMIT, "torch"),
    "limit_half": ("ours_half", LIMIT, "torch"),
}
LABELS = {"ours_half": ", float16", "ours_codes": ", int8"}
"""What the names of cases say of ours."""
APPROXIMATE = 200_000
"""Vectors up to which usearch takes part: building its graph takes longer than all searches of the race together."""

Search = Callable[[np.ndarray], np.ndarray]


def vectors(count: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Blocks of vectors of length 1 [B, 512]: 64 directions of falling weight, the same for every seed, and a tenth of
    noise."""
    weights = np.geomspace(1, 0.1, RANK, dtype=np.float32)[:, None]
    directions = np.random.default_rng(0).normal(size=(RANK, WIDTH)).astype(np.float32) * weights
    rng = np.random.default_rng(seed + 1)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        block = rng.standard_normal((size, RANK), dtype=np.float32) @ directions
        block += 0.1 * block.std() * rng.standard_normal((size, WIDTH), dtype=np.float32)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def store(count: int, folder: Path, sides: Sequence[str]) -> None:
    """Writes vectors, queries, and what each side opens."""
    data = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, (count, WIDTH))
    for place, block in enumerate(vectors(count)):
        data[place * BLOCK : place * BLOCK + len(block)] = block
    data.flush()
    np.save(folder / "queries.npy", np.concatenate(list(vectors(QUERIES, seed=1))))
    data = np.load(folder / "vectors.npy", mmap_mode="r")
    for side in sides:
        STORES.get(side, lambda *_: None)(data, folder)


def _items(count: int) -> list[dict[str, Any]]:
    return [{"id": f"{row:07}", "path": f"pictures/{row:07}.jpg", "captions": []} for row in range(count)]


def _store_ours(data: np.ndarray, folder: Path, name: str = "ours", dtype: str = "float32") -> Index:
    return build(folder / name, data, _items(len(data)), model="none", fingerprint="0" * 64, dtype=dtype)


def _store_faiss(data: np.ndarray, folder: Path, half: bool = False) -> None:
    import faiss

    kind = faiss.ScalarQuantizer.QT_fp16
    index = faiss.IndexScalarQuantizer(WIDTH, kind, faiss.METRIC_INNER_PRODUCT) if half else faiss.IndexFlatIP(WIDTH)
    for start in range(0, len(data), BLOCK):
        index.add(np.ascontiguousarray(data[start : start + BLOCK]))
    faiss.write_index(index, str(folder / ("faiss_half" if half else "faiss")))


def _store_lancedb(data: np.ndarray, folder: Path) -> None:
    import lancedb
    import pyarrow

    def batches() -> Iterator[Any]:
        for start in range(0, len(data), BLOCK):
            flat = pyarrow.array(data[start : start + BLOCK].ravel())
            rows = pyarrow.array(range(start, start + len(flat) // WIDTH))
            column = pyarrow.FixedSizeListArray.from_arrays(flat, WIDTH)
            yield pyarrow.record_batch([rows, column], names=["row", "vector"])

    kinds = [("row", pyarrow.int64()), ("vector", pyarrow.list_(pyarrow.float32(), WIDTH))]
    lancedb.connect(folder / "lancedb").create_table("vectors", batches(), schema=pyarrow.schema(kinds))


def _store_usearch(data: np.ndarray, folder: Path) -> None:
    from usearch.index import Index as Graph

    graph = Graph(ndim=WIDTH, metric="ip", dtype="f16")
    graph.add(np.arange(len(data)), np.asarray(data), threads=THREADS)
    graph.save(str(folder / "usearch"))


STORES: dict[str, Callable[[np.ndarray, Path], Any]] = {
    "ours": _store_ours,
    "ours_half": functools.partial(_store_ours, name="ours_half", dtype="float16"),
    "ours_codes": functools.partial(_store_ours, name="ours_codes", dtype="int8"),
    "faiss": _store_faiss,
    "faiss_codes": _store_faiss,
    "faiss_half": functools.partial(_store_faiss, half=True),
    "lancedb": _store_lancedb,
    "usearch": _store_usearch,
}


def _ours(folder: Path, name: str = "ours") -> Search:
    index = Index.open(folder / name)
    return lambda queries: index.search(queries, K).rows


def _numpy(folder: Path) -> Search:
    data = np.load(folder / "vectors.npy")

    def search(queries: np.ndarray) -> np.ndarray:
        found = queries @ data.T
        best = np.argpartition(found, len(data) - K, axis=1)[:, -K:]
        order = np.argsort(-np.take_along_axis(found, best, 1), axis=1)
        return np.take_along_axis(best, order, 1)

    return search


def _faiss(folder: Path, name: str = "faiss") -> Search:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    index = faiss.read_index(str(folder / name))
    return lambda queries: index.search(queries, K)[1]


def _lancedb(folder: Path) -> Search:
    import lancedb

    table = lancedb.connect(folder / "lancedb").open_table("vectors")

    def search(queries: np.ndarray) -> np.ndarray:
        asked = queries[0] if len(queries) == 1 else list(queries)
        found = table.search(asked).distance_type("dot").select(["row", "_distance"]).limit(K).to_arrow()
        rows, distances = (found[name].to_numpy() for name in ("row", "_distance"))
        places = found["query_index"].to_numpy() if len(queries) > 1 else np.zeros(len(rows))
        return rows[np.lexsort((distances, places))].reshape(len(queries), K)

    return search


def _usearch(folder: Path) -> Search:
    from usearch.index import Index as Graph

    graph = Graph.restore(str(folder / "usearch"))
    return lambda queries: graph.search(queries, K, threads=THREADS).keys.astype(np.int64).reshape(len(queries), K)


SIDES: dict[str, Callable[[Path], Search]] = {
    "ours": _ours,
    "ours_half": functools.partial(_ours, name="ours_half"),
    "ours_codes": functools.partial(_ours, name="ours_codes"),
    "numpy": _numpy,
    "faiss": _faiss,
    "faiss_codes": _faiss,
    "faiss_half": functools.partial(_faiss, name="faiss_half"),
    "lancedb": _lancedb,
    "usearch": _usearch,
}


def scores(folder: Path, rows: np.ndarray, half: bool = False) -> np.ndarray:
    """The scores of answers in float64 [Q, k], of the vectors as they are or as float16 holds them."""
    data, queries = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "queries.npy")
    found = [data[some].astype(np.float16 if half else np.float32).astype(float) for some in rows]
    return np.stack([chosen @ query.astype(float) for chosen, query in zip(found, queries, strict=True)])


def same(folder: Path, side: str) -> bool:
    """Whether a peer's answers are as good as ours, rank by rank."""
    ours = PEERS[side][0]
    rows = [np.load(folder / f"{each}-rows.npy") for each in (ours, side)]
    first, second = (scores(folder, each, half=ours == "ours_half") for each in rows)
    return bool(np.abs(first - second).max() < 1e-6)


def limit(folder: Path, half: bool) -> dict[str, Any]:
    """Seconds of the limit: of reading the vectors once, and of the multiplications for all queries."""
    shape = np.load(folder / "vectors.npy", mmap_mode="r").shape
    read = stream_of(math.prod(shape) * (2 if half else 4), THREADS)
    read()
    found = {"1": statistics.median(read() for _ in range(10))}
    multiply = product_of(math.prod(shape) * QUERIES, THREADS)
    multiply()
    return {**found, "500": multiply()}


def measure(side: str, folder: Path) -> dict[str, Any]:
    """One run in this process: seconds of a query alone and of all together, MB; writes the answers."""
    if side not in SIDES:
        return limit(folder, side == "limit_half")
    queries = np.load(folder / "queries.npy")
    __import__({"ours": "numpy", **dict.fromkeys(LABELS, "torch")}.get(side, side.split("_")[0]))
    found: dict[str, Any] = {}

    def seconds(search: Search, some: np.ndarray) -> float:
        start = time.perf_counter()
        found["rows"] = search(some)
        return time.perf_counter() - start

    def work() -> None:
        search = SIDES[side](folder)
        search(queries[:1])
        found["1"] = statistics.median(seconds(search, queries[place : place + 1]) for place in range(1, 11))
        found["500"] = seconds(search, queries)

    found["megabytes"] = added_memory(work)
    np.save(folder / f"{side}-rows.npy", found.pop("rows"))
    return found


def _append(case: str, peer: str, version: str, timings: Timings, surroundings: dict[str, Any], **told: Any) -> None:
    row = {"race": "search_exact", "case": case, "peer": peer, "peer_version": version}
    append_row(make_row(row, timings, unit=told["unit"], equal=told["equal"], surroundings=surroundings), told["to"])


def _race(case: str, sides: Sequence[str], repeats: int, results: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        store(CASES[case], folder, sides)
        runs = measure_in_turn("bench.search_exact", sides, repeats, "--folder", place)
        surroundings = environment(threads=THREADS)
        for side in sides:
            if side not in PEERS:
                continue
            ours, peer, package = PEERS[side]
            label, equal = case + LABELS.get(ours, ""), None
            if peer == LIMIT:
                _append_limits(label, package, runs[ours], runs[side], surroundings, results)
                continue
            if side == "usearch":
                label = f"{case}, recall {recall(folder):.2f}"
            elif not (equal := same(folder, side)):
                raise SystemExit(f"{case}: {peer} gives other answers")
            version = importlib.metadata.version(package)
            for kind, name, unit in (("1", "batch 1", "s"), ("500", "batch 500", "s"), ("megabytes", "memory", "MB")):
                timings = Timings(*([run[kind] for run in runs[each]] for each in (ours, side)))
                _append(f"{label}, {name}", peer, version, timings, surroundings, unit=unit, equal=equal, to=results)
        _race_adding(case, folder, repeats, results)


def _append_limits(
    label: str,
    package: str,
    ours: Sequence[dict[str, float]],
    theirs: Sequence[dict[str, float]],
    surroundings: dict[str, Any],
    results: Path,
) -> None:
    for kind in ("1", "500"):
        timings = Timings(*([run[kind] for run in each] for each in (ours, theirs)))
        case = f"{label}, batch {kind}"
        row = limit_row("search_exact", case, timings, unit="s", package=package, surroundings=surroundings)
        append_row(row, results)


def recall(folder: Path) -> float:
    """The share of the exact answers that usearch finds."""
    first, second = (np.load(folder / f"{side}-rows.npy") for side in ("ours", "usearch"))
    return float(np.mean([len(set(a) & set(b)) / K for a, b in zip(first.tolist(), second.tolist(), strict=True)]))


def _race_adding(case: str, folder: Path, repeats: int, results: Path) -> None:
    """One vector in a hundred more: added to the index that is there, or all of them indexed again."""
    count = CASES[case]
    data = np.concatenate([np.load(folder / "vectors.npy", mmap_mode="r"), *vectors(count // 100, seed=2)])
    items = _items(len(data))
    queries = np.load(folder / "queries.npy")[:50]
    added: list[float] = []
    built: list[float] = []
    for _ in range(repeats):
        _store_ours(data[:count], folder)
        start = time.perf_counter()
        more = changes.add(folder / "ours", data[count:], items[count:])
        added.append(time.perf_counter() - start)
        start = time.perf_counter()
        again = _store_ours(data, folder, "again")
        built.append(time.perf_counter() - start)
        if not np.array_equal(more.search(queries, K).rows, again.search(queries, K).rows):
            raise SystemExit(f"{case}: what was added is not what was built")
        shutil.rmtree(folder / "again")
    version, told = importlib.metadata.version("deixis"), {"unit": "s", "equal": True, "to": results}
    _append(f"{case}, 1 % more", "building again", version, Timings(added, built), environment(THREADS), **told)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends three rows a case and peer, and one a case of adding."""
    parser = argparse.ArgumentParser(prog="python -m bench.search_exact", description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="runs a side (default 5; of the largest at most 3)")
    parser.add_argument("--cases", nargs="*", choices=list(CASES), default=list(CASES), help="which cases to run")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), default=list(PEERS), help="against whom")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    parser.add_argument("--measure", choices=["ours", *LABELS, *PEERS], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        print(json.dumps(measure(chosen.measure, chosen.folder)))
        return
    for case in chosen.cases:
        peers = [each for each in chosen.peers if each != "usearch" or CASES[case] <= APPROXIMATE]
        ours = sorted({PEERS[each][0] for each in peers} | {"ours"})
        _race(case, [*ours, *peers], min(chosen.repeats, 3 if CASES[case] >= 10**6 else 99), chosen.results)


if __name__ == "__main__":
    main()
