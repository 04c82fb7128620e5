"""What an image and a query cost as an index grows, and what takes over: rows of `results/scale.jsonl`.

    python -m bench.scale_rows                                    10,000 to 1,000,000 vectors, PostgreSQL at the last
    python -m bench.scale_rows --counts 2000 5000 --postgres 2000

Vectors are those of the race `search_exact`. `search` is one index folder, `shards` the same rows in several folders
that as many processes search, `postgres` the same in PostgreSQL with pgvector, on a server that is started here for
that (Debian: postgresql, postgresql-17-pgvector). `ranks` trains with two ranks, kills one, and waits for the other to
tell of it. Answers are compared with those of the one folder first.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pwd
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.fault_commands import lay_out
from bench.rows import ROOT, child_environment, environment
from bench.search_exact import WIDTH, vectors
from deixis.indexing.changes import build
from deixis.indexing.index import Index
from deixis.indexing.postgres import Postgres
from deixis.indexing.shards import IndexShards

__all__ = ["cuts", "main", "postgres_row", "ranks_row", "search_row", "shards_row"]

RESULTS = ROOT / "results" / "scale.jsonl"
K, _REPEATS, _BATCH, _APPROXIMATE = 10, 9, 500, 100
_BUILD_MEMORY = "4GB"
"""For the graph, which pgvector builds in memory as far as this reaches; a million vectors take more than 2 GB."""
_PROGRAMS = Path("/usr/lib/postgresql/17/bin")

Row = dict[str, Any]


def _median(work: Callable[[], Any], repeats: int = _REPEATS) -> float:
    """Seconds, after one run that does not count."""
    work()
    taken = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begun)
    return float(f"{statistics.median(taken):.4g}")


def _rounded(seconds: float) -> float:
    return float(f"{seconds:.4g}")


def _items(start: int, count: int) -> list[Row]:
    return [{"id": f"{row:08}", "path": f"pictures/{row:08}.jpg"} for row in range(start, start + count)]


def cuts(count: int, parts: int) -> list[tuple[int, int]]:
    """Where rows are cut into parts: begin and end of each.

    Args:
        count: of rows.
        parts: how many.
    """
    ends = [count * part // parts for part in range(parts + 1)]
    return list(itertools.pairwise(ends))


def _made(folder: Path, data: np.ndarray, start: int = 0) -> Index:
    return build(folder, data, _items(start, len(data)), model="none", fingerprint="0" * 64)


def search_row(folder: Path, data: np.ndarray, queries: np.ndarray) -> Row:
    """One index folder, which stays there.

    Args:
        folder: where it goes.
        data: vectors of length 1 [N, D].
        queries: vectors [Q, D].
    """
    begun = time.perf_counter()
    _made(folder, data)
    built = time.perf_counter() - begun
    begun = time.perf_counter()
    index = Index.open(folder)
    index.search(queries[:1], K)
    return {
        "what": "search",
        "vectors": len(data),
        "width": data.shape[1],
        "build_seconds": _rounded(built),
        "first_query_seconds": _rounded(time.perf_counter() - begun),
        "query_seconds": _median(lambda: index.search(queries[:1], K)),
        "batch": len(queries),
        "batch_query_seconds": _rounded(_median(lambda: index.search(queries, K), 3) / len(queries)),
        "bytes": sum(each.stat().st_size for each in folder.iterdir()),
    }


def shards_row(folder: Path, data: np.ndarray, queries: np.ndarray, parts: int, whole: Index) -> Row:
    """The same in several folders, by as many processes.

    Args:
        folder: in which they are made.
        data: vectors of length 1 [N, D].
        queries: vectors [Q, D].
        parts: how many.
        whole: the one index.
    """
    folders = [folder / f"part-{start}" for start, _ in cuts(len(data), parts)]
    for place, (start, stop) in zip(folders, cuts(len(data), parts), strict=True):
        _made(place, data[start:stop], start)
    begins = np.array([start for start, _ in cuts(len(data), parts)])
    with IndexShards(folders, parts) as shards:
        found, wanted = shards.search(queries, K), whole.search(queries, K)
        return {
            "what": "shards",
            "vectors": len(data),
            "parts": parts,
            "equal": bool(
                np.array_equal(found.scores, wanted.scores)
                and np.array_equal(begins[found.shards] + found.rows, wanted.rows)
            ),
            "query_seconds": _median(lambda: shards.search(queries[:1], K)),
            "batch": len(queries),
            "batch_query_seconds": _rounded(_median(lambda: shards.search(queries, K), 3) / len(queries)),
        }


def postgres_row(index: Index, queries: np.ndarray, dsn: str) -> Row:
    """A copy in PostgreSQL, searched exactly and by its graph.

    Args:
        index: what is copied.
        queries: vectors [Q, D]; a hundred of them measure the recall.
        dsn: of the server.
    """
    begun = time.perf_counter()
    Postgres.of(index, dsn, "scale", replace=True).close()
    copied = time.perf_counter() - begun
    begun = time.perf_counter()
    with Postgres.of(index, dsn, "scale", graph=True, replace=True) as table:
        built = time.perf_counter() - begun
        some = queries[:_APPROXIMATE]
        wanted = [[index.item(int(row))["id"] for row in each] for each in index.search(some, K).rows]
        exact = [[each.item["id"] for each in found] for found in table.search(some[:3], K)]
        near = [[each.item["id"] for each in found] for found in table.search(some, K, approximate=True)]
        return {
            "what": "postgres",
            "vectors": len(index),
            "copy_seconds": _rounded(copied),
            "build_seconds": _rounded(built),
            "equal": exact == wanted[:3],
            "recall": round(float(np.mean([len({*a} & {*b}) / K for a, b in zip(near, wanted, strict=True)])), 4),
            "exact_query_seconds": _median(lambda: table.search(queries[:1], K), 3),
            "query_seconds": _median(lambda: table.search(queries[:1], K, approximate=True)),
        }


@contextlib.contextmanager
def server() -> Iterator[str]:
    """A PostgreSQL server of its own, reached through a socket in its folder; gives its address.

    Raises:
        SystemExit: there is none on this machine.
    """
    if not (_PROGRAMS / "initdb").is_file():
        raise SystemExit("There is no PostgreSQL 17 here: apt-get install postgresql postgresql-17-pgvector")
    with tempfile.TemporaryDirectory() as name:
        folder, who = Path(name), dict[str, Any]()
        if os.getuid() == 0:  # as which PostgreSQL refuses to run
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        log, data = folder / "log", str(folder / "data")
        make = [str(_PROGRAMS / "initdb"), "-D", data, "-U", "deixis", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)
        run = [str(_PROGRAMS / "postgres"), "-D", data, "-k", name, "-c", "listen_addresses="]
        run += ["-c", f"maintenance_work_mem={_BUILD_MEMORY}", "-c", "shared_buffers=512MB"]
        with open(log, "wb") as said:
            process = subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=said, cwd=folder, **who)
        try:
            while not (folder / ".s.PGSQL.5432").exists():
                if process.poll() is not None:
                    raise SystemExit(log.read_text(encoding="utf-8"))
                time.sleep(0.1)
            time.sleep(0.5)
            address = f"host={folder} user=deixis dbname=postgres"
            import psycopg

            with psycopg.connect(address, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION vector")
            yield address
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def ranks_row(patience: float) -> Row:
    """Two ranks train over loopback, and one is killed: how long until the other tells of it, and how.

    Args:
        patience: seconds without an answer after which a rank counts as gone (`--timeout`).
    """
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        lay_out(place)
        data, out = place / "DATA" / "captions.csv", place / "out"
        train = ["train", "clip", "--data", str(data), "--config", "tiny", "--out", str(out), "--steps", "100000"]
        train += ["--batch-size", "8", "--timeout", str(patience)]
        around = {**child_environment(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "WORLD_SIZE": "2"}
        around |= {"OMP_NUM_THREADS": "1", "DEIXIS_CACHE": str(place / "cache"), "PYTHONPATH": str(ROOT / "src")}
        ranks = [
            subprocess.Popen(
                [sys.executable, "-m", "deixis", *train],
                cwd=place,
                env={**around, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(2)
        ]
        try:
            while not (out / "metrics.jsonl").exists() and all(each.poll() is None for each in ranks):
                time.sleep(0.1)
            begun = time.perf_counter()
            ranks[1].kill()
            error = ranks[0].communicate(timeout=60 + 4 * patience)[1]
            taken = time.perf_counter() - begun
        finally:
            for each in ranks:
                each.kill()
                each.wait()
    last = (error.strip().splitlines() or [""])[-1]
    return {
        "what": "ranks",
        "ranks": 2,
        "patience": patience,
        "told": last.startswith("deixis train: ") and ranks[0].returncode == 2,
        "said": last.removeprefix("deixis train: ")[:200],
        "seconds": _rounded(taken),
    }


def _rows(counts: Sequence[int], parts: int, postgres: int) -> Iterator[Row]:
    queries = np.concatenate(list(vectors(_BATCH, seed=1)))
    for count in sorted({*counts, *([postgres] if postgres else [])}):
        with tempfile.TemporaryDirectory() as name:
            data = np.lib.format.open_memmap(Path(name) / "vectors.npy", "w+", np.float32, (count, WIDTH))
            start = 0
            for block in vectors(count):
                data[start : start + len(block)] = block
                start += len(block)
            if count in counts:
                yield search_row(Path(name) / "index", data, queries)
            else:
                _made(Path(name) / "index", data)
            index = Index.open(Path(name) / "index")
            if count in counts:
                yield shards_row(Path(name), data, queries, parts, index)
            if count == postgres:
                with server() as address:
                    yield postgres_row(index, queries, address)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and adds rows."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale_rows", description=__doc__.splitlines()[0])
    counts = (10_000, 30_000, 100_000, 300_000, 1_000_000)
    parser.add_argument("--counts", nargs="*", type=int, default=counts, help="vectors in an index")
    parser.add_argument("--parts", type=int, default=2, help="folders and processes of `shards`")
    parser.add_argument("--postgres", type=int, default=1_000_000, help="vectors in PostgreSQL; 0: leave it out")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds for a rank that is gone; 0: leave it out")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where rows are added")
    chosen = parser.parse_args(arguments)
    ranks = (ranks_row(patience) for patience in [chosen.patience] if patience)
    for row in itertools.chain(_rows(chosen.counts, chosen.parts, chosen.postgres), ranks):
        with open(chosen.results, "a", encoding="utf-8") as file:
            file.write(json.dumps({**row, **environment(threads=os.cpu_count() or 1)}) + "\n")
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
