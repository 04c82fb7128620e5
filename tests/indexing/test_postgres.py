"""The collection in PostgreSQL answers as the folder does, on a server that these tests start for themselves."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deixis.errors import DeixisError
from deixis.indexing import changes, postgres_form
from deixis.indexing.changes import build
from deixis.indexing.index import Index
from deixis.indexing.postgres import Match, Postgres

PROGRAMS = Path("/usr/lib/postgresql/17/bin")
EVIL = [
    "'; DROP TABLE photos; --",
    '"; DROP TABLE photos; --',
    "%s %(name)s {}",
    "\\'",
    "a\0b",
    os.fsdecode(b"\xff.png"),
]
CONDITIONS = [
    "label=bird",
    "label=BIRD",
    "label!=bird",
    "label=",
    "label!=",
    "year>=2002",
    "year<2002.5",
    "year=2001",
    "year!=2001",
    "year>nan",
    "year=nan",
    "year<inf",
    "captions~RED",
    "captions~",
    "captions=a red straße",
    "captions=a red strasse",
    "note~x",
    "note>k",
    "note>p",
    "note>5",
    "note<=7",
    "note=1e3",
    "odd=true",
    "odd=",
    *(f"note={each}" for each in EVIL),
    *(f"note~{each[1:]}" for each in EVIL),
]


def random(count: int, width: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)


def items_of(names: list[str]) -> list[dict[str, Any]]:
    notes = [None, "x", "Öl", "K", 1000, "1000", "nan", float(7), True, *EVIL]
    return [
        {
            "id": name,
            "path": f"/photos/{name}",
            "captions": [["a red Straße", "A KITE"], [], ["blue \u2028 é"]][place % 3],
            "label": ["bird", "Bird", "cat", None][place % 4],
            "year": ["2001", 2002, 2003.5, "unknown", None][place % 5],
            "note": notes[place % len(notes)],
            **({"odd": [True, {"a": 1}, [None, "z"]][place % 3]} if place % 2 else {}),
        }
        for place, name in enumerate(names)
    ]


# --- without a server ---


def test_what_postgresql_can_not_hold_comes_back_as_it_was() -> None:
    value = {"a\0": [os.fsdecode(b"caf\xe9"), {"x": "\udfff\0"}, 1.5, None, True], "b": "plain é 猫"}
    kept = postgres_form.storable(value)
    assert postgres_form.restored(kept) == value
    assert "\0" not in repr(kept).encode("utf-8").decode()  # a lone surrogate would not be encoded


def test_a_condition_is_bound_and_never_part_of_the_statement() -> None:
    plain = postgres_form.condition("label=bird", 3)
    evil = postgres_form.condition("x'; DROP TABLE photos; -- = '); DROP TABLE photos; --", 3)
    assert evil[1] == plain[1]
    assert evil[2]["wanted_3"] == "'); drop table photos; --"
    assert set(evil[2]) == {"name_3", "wanted_3", "read_3"}


@pytest.mark.slow
def test_a_name_that_is_no_table_and_an_address_that_is_none_are_refused_before_any_connection() -> None:
    for name in ("", "x" * 64, "deixis_collections", "a\0b"):
        with pytest.raises(DeixisError, match="can't be called"):
            Postgres.open("host=nowhere", name)
    with pytest.raises(DeixisError, match="can't be read") as raised:
        Postgres.open("secret password=hidden")
    assert "hidden" not in str(raised.value)


@pytest.mark.slow
def test_without_a_server_one_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeixisError, match=r"can't be reached.*Check its address"):
        Postgres.open(f"host={tmp_path} dbname=none password=hidden connect_timeout=2")


# --- with one ---


class Server:
    """A PostgreSQL server of its own, reached through a socket in its folder, by no network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dsn = f"host={folder} user=deixis dbname=postgres"
        # PostgreSQL refuses to run as root.
        self.who: dict[str, Any] = {}
        if os.getuid() == 0:
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            self.who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        # Letters in the order of a language, which is not that of Python.
        order = ("-E", "UTF8", "--locale=C", "--locale-provider=icu", "--icu-locale=en-US")
        self.run("initdb", "-D", folder / "data", "-U", "deixis", "-A", "trust", "--no-sync", *order)
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, program: str, *arguments: object) -> None:
        command = [str(PROGRAMS / program), *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True, cwd=self.folder, **self.who)

    def start(self) -> None:
        options = ["-D", self.folder / "data", "-k", self.folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                [str(PROGRAMS / "postgres"), *map(str, options)], stderr=log, stdout=log, cwd=self.folder, **self.who
            )
        for _ in range(300):
            with contextlib.suppress(subprocess.CalledProcessError):
                return self.run("pg_isready", "-h", self.folder, "-q")
            time.sleep(0.1)
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    pytest.importorskip("psycopg")
    if not (PROGRAMS / "initdb").exists():
        pytest.skip(f"no PostgreSQL 17 at {PROGRAMS} (Debian: postgresql, postgresql-17-pgvector)")
    if os.getuid() == 0 and "postgres" not in {user.pw_name for user in pwd.getpwall()}:
        pytest.skip("root may not start PostgreSQL, and there is no user postgres to do it")
    folder = Path(tempfile.mkdtemp(prefix="deixis-"))  # a socket's path is short, and pytest's folders are root's own
    try:
        server = Server(folder)
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def indexed(folder: Path, dtype: str = "float32", count: int = 60) -> Index:
    """Of two segments, some rows removed, many vectors equal or nearly so."""
    names = [*(f"{place}.png" for place in range(count)), *EVIL]
    vectors = random(len(names))
    vectors[20:32] = vectors[20]
    vectors[32:60] = vectors[20] * (1 + 2e-7 * random(28, seed=9))  # these differ in the last digits only
    items = items_of(names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(changes, "SMALL", 0)
        build(folder, vectors[:50], items[:50], model="m", fingerprint="f" * 64, dtype=dtype)
        changes.add(folder, vectors[50:], items[50:])
        index = changes.remove(folder, ["3.png", "22.png", EVIL[1]])
    assert len(index.segments) == 2
    return index


def expected(index: Index, queries: np.ndarray, k: int, where: list[str] | None = None) -> list[list[Any]]:
    scores, rows = index.search(queries, k, where=index.where(where) if where else None)
    return [
        [(score, index.item(row)) for score, row in zip(*line, strict=True)]
        for line in zip(scores.tolist(), rows.tolist(), strict=True)
    ]


def plain(found: list[list[Match]]) -> list[list[Any]]:
    return [[(each.score, each.item) for each in line] for line in found]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_answers_are_those_of_the_folder_to_the_last_bit(server: Server, tmp_path: Path, dtype: str) -> None:
    index = indexed(tmp_path / "index", dtype)
    queries = np.concatenate([random(5, seed=1), random(1)[:1] * 0 + index.vector(20)])
    with Postgres.of(index, server.dsn, f"photos {dtype}", replace=True) as table:
        assert len(table) == len(index)
        for k in (1, 7, 30, 500):
            assert plain(table.search(queries, k)) == expected(index, queries, k)
    with Postgres.of(index, server.dsn, f"photos {dtype}", graph=True, replace=True) as table:
        assert plain(table.search(queries, 7)) == expected(index, queries, 7)
        quick = table.search(queries, 7, approximate=True)
        for line, scores in zip(quick, index.search(queries, 7).scores, strict=True):
            assert [each.score for each in line] == pytest.approx(scores.tolist(), abs=1e-3)
    again = Postgres.open(server.dsn, f"photos {dtype}")
    again.expect("f" * 64)
    with pytest.raises(DeixisError, match=r"made by the model 'm' \(ffffffffffff\), the query by another"):
        again.expect("b" * 64)
    again.close()


@pytest.mark.slow
def test_conditions_mean_the_same_in_both(server: Server, tmp_path: Path) -> None:
    index, query = indexed(tmp_path / "index"), random(1, seed=2)
    table = Postgres.of(index, server.dsn, "photos", replace=True)
    met = 0
    for condition in CONDITIONS:
        answers = expected(index, query, 100, [condition])
        assert plain(table.search(query, 100, where=[condition])) == answers, condition
        assert plain(table.search(query, 3, where=[condition], approximate=True)) == [answers[0][:3]], condition
        met += 0 < len(answers[0]) < len(index)
    assert met > len(CONDITIONS) / 2, "conditions that all or none meet test little"
    both = ["label=bird", "year>2001"]
    assert plain(table.search(query, 100, where=both)) == expected(index, query, 100, both)
    for wrong, said in (("colour=red", "No item has a column 'colour'"), ("label", "can't be read")):
        with pytest.raises(DeixisError, match=said):
            table.search(query, 3, where=[wrong])
    table.close()


@pytest.mark.slow
def test_changes_are_whole_or_not_at_all(server: Server, tmp_path: Path) -> None:
    index = indexed(tmp_path / "index")
    table, queries = Postgres.of(index, server.dsn, "photos", replace=True), random(4, seed=3)
    new = items_of(["n1", "n2'; DROP TABLE photos; --"])

    def agree() -> None:
        assert plain(table.search(queries, 200)) == expected(index, queries, 200)

    table.add(random(2, seed=5), new)
    index = changes.add(tmp_path / "index", random(2, seed=5), new)
    agree()
    table.replace(random(2, seed=6), items_of(["n1", EVIL[0]]))
    index = changes.replace(tmp_path / "index", random(2, seed=6), items_of(["n1", EVIL[0]]))
    agree()
    gone = ["n2'; DROP TABLE photos; --", EVIL[4], EVIL[5]]
    table.remove(gone)
    index = changes.remove(tmp_path / "index", gone)
    agree()
    for said, wrong in {
        "no item with the id 'nobody'": {"removed": ["0.png", "nobody"]},
        r"duplicate key.*0\.png": {"vectors": random(2), "items": items_of(["fresh", "0.png"])},
        "Item 1 has no id": {"vectors": random(2), "items": [*items_of(["fresh"]), {"path": "x"}]},
        "holds NaN": {"vectors": random(1) * np.nan, "items": items_of(["fresh"]), "removed": ["0.png"]},
        r"shape \[1, 3\]": {"vectors": random(1, 3), "items": items_of(["fresh"])},
    }.items():
        with pytest.raises(DeixisError, match=said):
            table.change(**wrong)
        agree()
    table.change(vectors=random(1, seed=7), items=items_of(["0.png"]), removed=["0.png"])
    assert len(table) == len(index)
    table.close()


@pytest.mark.slow
def test_what_is_there_is_replaced_only_when_asked_and_foreign_tables_never(server: Server, tmp_path: Path) -> None:
    import psycopg

    index = indexed(tmp_path / "index")
    Postgres.of(index, server.dsn, "mine", replace=True).close()
    with pytest.raises(DeixisError, match=r"already exists.*Choose another name than mine"):
        Postgres.of(index, server.dsn, "mine")
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE theirs (x int)")
        with pytest.raises(DeixisError, match="already exists"):
            Postgres.of(index, server.dsn, "theirs", replace=True)
        with pytest.raises(DeixisError, match="no collection 'theirs'"):
            Postgres.open(server.dsn, "theirs")
        connection.execute("DROP TABLE mine")
        with pytest.raises(DeixisError, match="no collection 'mine'"):
            Postgres.open(server.dsn, "mine")
        connection.execute("CREATE TABLE mine (id int)")
        with pytest.raises(DeixisError, match="already exists"):
            Postgres.of(index, server.dsn, "mine", replace=True)
        connection.execute("CREATE ROLE guest LOGIN")
    with pytest.raises(DeixisError, match=r"permission denied.*Ask who runs the server"):
        Postgres.of(index, server.dsn.replace("user=deixis", "user=guest"), "other")
    with pytest.raises(DeixisError, match="float8"):
        Postgres.create(server.dsn, "mine", width=3, model="m", fingerprint="f", dtype="float8")
    wide = Postgres.create(server.dsn, "wide", width=2001, model="m", fingerprint="f")
    broad = build(tmp_path / "broad", random(1, 2001), [{"id": "a"}], model="m", fingerprint="f")
    with pytest.raises(DeixisError, match=r"up to 2000 numbers, these have 2001.*float16"):
        Postgres.of(broad, server.dsn, "broad", graph=True)
    assert wide.search(random(1, 2001)) == [[]]
    wide.close()


@pytest.mark.slow
def test_a_copy_that_is_broken_off_leaves_what_was_there(server: Server, tmp_path: Path) -> None:
    index = indexed(tmp_path / "index")
    Postgres.of(index, server.dsn, "kept", replace=True).close()

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Postgres.of(index, server.dsn, "kept", replace=True, progress=stop)
    with Postgres.open(server.dsn, "kept") as table:
        assert len(table) == len(index)


@pytest.mark.slow
def test_a_server_that_goes_is_told_once_and_found_again_when_it_is_back(server: Server, tmp_path: Path) -> None:
    index = indexed(tmp_path / "index")
    table = Postgres.of(index, server.dsn, "photos", replace=True)
    server.stop()
    for _ in range(2):
        with pytest.raises(DeixisError, match=r"server can't be reached, or has gone"):
            table.search(random(1))
    with pytest.raises(DeixisError, match="can't be reached, or has gone"):
        table.remove(["0.png"])
    server.start()
    assert len(table) == len(index)
    table.close()
