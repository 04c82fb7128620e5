"""Race `import_index`: vectors that another program made, with a line of JSON each, into an index that can be searched.

All sides start from one `.npy` of float32 vectors of length 1 and one `.jsonl` of items, and end with files on disk:
`ours` is `deixis.indexing.changes.build`, which `deixis index` ends with, too; `faiss flat` reads both, adds the
vectors to an `IndexFlatIP` and writes that, the items beside it; `plain` is the least that can be done: both files read
and written once, and flushed to the disk, without a look at them. Before anything is timed, the ten nearest of some
queries must be the same rows with the same items, of the first two sides; `plain` has nothing to search.

Memory is what a process of its own holds in the worst moment beyond what it held before.
"""

from __future__ import annotations

import contextlib
import filecmp
import importlib.metadata
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.rows import Race, added_memory, append_time_and_memory, counts_parser, environment, measure_in_turn
from deixis.indexing.changes import build
from deixis.indexing.index import Index

__all__ = ["RACE", "SIDES", "main", "same", "write"]

RACE = Race(
    measures="Vectors of another program, with their items, into an index",
    peers=("faiss flat", "plain"),
    equal="the ten nearest of 20 queries and their items; of plain, which has nothing to search, the bytes",
)

THREADS, WIDTH, QUERIES, NEAREST = 2, 384, 20, 10


def write(folder: Path, count: int) -> None:
    """Writes `vectors.npy` and `items.jsonl`."""
    vectors = np.random.default_rng(0).standard_normal((count, WIDTH), np.float32)
    np.save(folder / "vectors.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    items = ({"id": f"{i:07}.jpg", "path": f"/pictures/{i:07}.jpg", "label": f"class {i % 50}"} for i in range(count))
    (folder / "items.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in items), encoding="utf-8")


def _items(folder: Path) -> list[dict[str, str]]:
    with open(folder / "items.jsonl", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _ours(folder: Path, out: Path) -> None:
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    build(out, vectors, _items(folder), model="race", fingerprint="race")


def _faiss(folder: Path, out: Path) -> None:
    import faiss

    out.mkdir()
    flat = faiss.IndexFlatIP(WIDTH)
    flat.add(np.load(folder / "vectors.npy"))
    faiss.write_index(flat, str(out / "vectors.faiss"))
    with open(out / "items.jsonl", "w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(each)}\n" for each in _items(folder))
    for path in out.iterdir():
        _flush(path)


def _plain(folder: Path, out: Path) -> None:
    out.mkdir()
    for name in ("vectors.npy", "items.jsonl"):
        (out / name).write_bytes((folder / name).read_bytes())
        _flush(out / name)


def _flush(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


SIDES: dict[str, Callable[[Path, Path], None]] = {"ours": _ours, "faiss flat": _faiss, "plain": _plain}


def same(folder: Path) -> bool:
    """Whether our index and that of faiss answer alike, and a plain copy is one."""
    import faiss

    with tempfile.TemporaryDirectory() as place:
        ours, theirs, plain = Path(place, "ours"), Path(place, "theirs"), Path(place, "plain")
        _ours(folder, ours)
        _faiss(folder, theirs)
        _plain(folder, plain)
        copied = [each.name for each in plain.iterdir()]
        if filecmp.cmpfiles(folder, plain, copied, shallow=False)[0] != copied:
            return False
        index, flat = Index.open(ours), faiss.read_index(str(theirs / "vectors.faiss"))
        queries = np.load(folder / "vectors.npy", mmap_mode="r")[:QUERIES] + np.float32(0.01)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
        scores, rows = index.search(np.ascontiguousarray(queries), NEAREST)
        wanted, their_rows = flat.search(np.ascontiguousarray(queries), NEAREST)
        items = _items(theirs)
        alike = all(index.item(int(row)) == items[int(row)] for row in their_rows.ravel())
        return alike and np.array_equal(rows, their_rows) and bool(np.allclose(scores, wanted, atol=1e-5))


def _measure(side: str, folder: Path) -> dict[str, float]:
    """Seconds and MB of one run in this process."""
    with contextlib.suppress(ImportError):
        import faiss

        faiss.omp_set_num_threads(THREADS)
    found = {}
    with tempfile.TemporaryDirectory(dir=folder) as place:

        def work() -> None:
            start = time.perf_counter()
            SIDES[side](folder, Path(place, "out"))
            found["seconds"] = time.perf_counter() - start

        found["megabytes"] = added_memory(work)
    return found


def _race(count: int, repeats: int, results: Path) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write(folder, count)
        if not same(folder):
            raise SystemExit(f"{count}: the index and that of faiss answer differently, or the copy is none")
        runs = measure_in_turn("bench.import_index", SIDES, repeats, "--folder", place)
    versions = {"faiss flat": importlib.metadata.version("faiss-cpu"), "plain": np.__version__}
    for peer in RACE.peers:
        told = {"race": "import_index", "peer": peer, "peer_version": versions[peer]}
        both = {"ours": runs["ours"], "theirs": runs[peer]}
        append_time_and_memory(told, f"{count:,} vectors", both, environment(threads=THREADS), results)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the race and appends two rows a size and peer: of time and of memory."""
    chosen = counts_parser("import_index", str(__doc__), SIDES, (10_000, 100_000), "vectors").parse_args(arguments)
    if chosen.measure:
        print(json.dumps(_measure(chosen.measure, chosen.folder)))
        return
    for count in chosen.counts:
        _race(count, chosen.repeats, chosen.results)


if __name__ == "__main__":
    main()
