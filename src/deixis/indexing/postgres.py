"""An index in PostgreSQL with the extension pgvector, for those who outgrow a folder.

with Postgres.of(Index.open("my-run/index"), "host=db dbname=photos", "my_photos") as table:
    table.search(queries, 10, where=["label=bird"])

A table has the columns

    place      counts up as rows come; among equal scores the first answers first
    id         the item's, primary key
    item       what was indexed, as jsonb
    facts      what conditions look at: the item's values, letters folded and numbers read
    embedding  vector or, of a float16 index, halfvec; of length 1

and the table deixis_collections tells which model made each. Answers and scores are those of the folder to the last
bit: PostgreSQL finds candidates by cosine distance, which are then scored as `exact` does. Only the approximate search
that can be asked for may miss some. What a caller gives is bound to statements, never put into their text; of the names
in them the table's alone is the caller's, and quoted.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from deixis.errors import DeixisError
from deixis.indexing import postgres_form as form
from deixis.indexing.exact import margin, rescored
from deixis.indexing.filters import unknown
from deixis.indexing.index import Index
from deixis.indexing.postgres_link import close_on_error, connect, database_errors, driver, statement
from deixis.indexing.postgres_tables import ABOUT, about_collection, check_name, graph_sql, with_ids
from deixis.indexing.segments import unit

__all__ = ["Match", "Postgres"]

TABLE = "deixis"
_WIDEST = {"float32": 2000, "float16": 4000}  # of a graph of pgvector
_MOST = 1000  # nodes that pgvector keeps in hand
_SPARE = 16
_HALF = np.float32(1e-3)  # how far a cosine and an inner product lie apart where lengths were rounded to half precision


class Match(NamedTuple):
    """One answer: its cosine similarity, what was indexed, and its place among equal ones."""

    score: float
    item: dict[str, Any]
    place: int


@dataclasses.dataclass(eq=False)
class Postgres:
    """A collection in a table of a PostgreSQL server. Made by `create`, `of` or `open`.

    Threads may share it; each waits for the other.

    Attributes:
        dsn: how the server is reached; it may hold a password and is never shown.
        table: name of the table.
        about: model, fingerprint, dtype and width.
    """

    dsn: str = dataclasses.field(repr=False)
    table: str
    about: Mapping[str, Any]
    _opened: Any = dataclasses.field(default=None, repr=False)
    _lock: Any = dataclasses.field(default_factory=threading.Lock, repr=False)  # one transaction at a time

    @classmethod
    def open(cls, dsn: str, table: str = TABLE) -> Postgres:
        """Opens a collection that is there.

        Args:
            dsn: `postgresql://user@host/database`, or `host=... dbname=...`, as libpq reads it.
            table: name of the table.

        Raises:
            DeixisError: no server, or no such collection on it.
        """
        check_name(table)
        with database_errors(), close_on_error(connect(dsn)) as connection:
            about = about_collection(connection, table)
            if about is None:
                raise DeixisError(
                    f"The database holds no collection {table!r}.", "Make one: deixis export RUN --to postgres"
                )
        return cls(dsn, table, about, connection)

    @classmethod
    def create(
        cls, dsn: str, table: str = TABLE, *, width: int, model: str, fingerprint: str, dtype: str = "float32"
    ) -> Postgres:
        """Makes an empty collection.

        Args:
            dsn: as in `open`.
            table: name of the table, which must not be there.
            width: of a vector.
            model: name of the model that makes the vectors.
            fingerprint: of that model, see `expect`.
            dtype: how vectors are stored, `float32` or `float16`.

        Raises:
            DeixisError: no server, no pgvector, no right to make a table, or a table of this name.
        """
        about = {"model": model, "fingerprint": fingerprint, "dtype": dtype, "width": width}
        made = cls(dsn, table, about)
        with close_on_error(made), made._transaction() as cursor:
            made._create(cursor)
        return made

    @classmethod
    def of(
        cls,
        index: Index,
        dsn: str,
        table: str = TABLE,
        *,
        graph: bool = False,
        replace: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Postgres:
        """Copies an index into a new table, whole or not at all.

        Args:
            index: an opened index, each of whose items has an `id`.
            dsn: as in `open`.
            table: name of the table.
            graph: also build a graph for approximate searches, with 16 links a node.
            replace: a collection of this name that is there; a table that is none is never replaced.
            progress: told (done, total) now and then.

        Raises:
            DeixisError: as `create`; the index is damaged, or too wide for a graph.
        """
        about = {key: index.manifest[key] for key in ("model", "fingerprint", "dtype", "width")}
        made = cls(dsn, table, about)
        if graph:
            made._check_graph()
        with close_on_error(made), made._transaction() as cursor:
            if replace and about_collection(cursor.connection, table) is not None:
                cursor.execute(statement("DROP TABLE {}", table))
            made._create(cursor)
            made._copy(cursor, _stored(index, progress), (item for _, item in index.items()))
            if graph:
                cursor.execute(graph_sql(table, about["dtype"]))
            cursor.execute(statement("ANALYZE {}", table))  # so that the server knows when a graph pays
        return made

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; whatever is asked next opens another."""
        if self._opened is not None:
            self._opened.close()

    def __len__(self) -> int:
        with self._transaction() as cursor:
            return int(cursor.execute(statement("SELECT count(*) FROM {}", self.table)).fetchone()[0])

    def expect(self, fingerprint: str) -> None:
        """Refuses queries of another model, as `Index.expect`.

        Raises:
            DeixisError: the collection was made by a model with another fingerprint.
        """
        made = str(self.about["fingerprint"])
        if made != fingerprint:
            raise DeixisError(
                f"The collection {self.table!r} was made by the model {self.about['model']!r} ({made[:12]}), the query "
                f"by another ({fingerprint[:12]}): their vectors can't be compared.",
                "Search with the model that made it, or make the collection again with this one.",
            )

    def add(self, vectors: Float[np.ndarray, "N D"], items: Sequence[Mapping[str, Any]]) -> None:
        """Adds items whose ids the collection does not have; see `change`."""
        self.change(vectors=vectors, items=items)

    def remove(self, ids: Sequence[str]) -> None:
        """Removes the items of these ids; see `change`."""
        self.change(removed=ids)

    def replace(self, vectors: Float[np.ndarray, "N D"], items: Sequence[Mapping[str, Any]]) -> None:
        """Puts items in the place of those with their ids; those with new ids are added. See `change`."""
        self._change(vectors, items, (), replacing=True)

    def change(
        self,
        *,
        vectors: Float[np.ndarray, "N D"] | None = None,
        items: Sequence[Mapping[str, Any]] = (),
        removed: Sequence[str] = (),
    ) -> None:
        """Removes and adds items in one transaction: all of it or nothing.

        Args:
            vectors: one an item that is added, brought to length 1 here [N, D].
            items: what is added, each with an `id`.
            removed: ids of items to remove.

        Raises:
            DeixisError: an id that is there already, twice, or not there; vectors of another width, without direction,
                or not as many as items; the server is gone.
        """
        self._change(vectors, items, removed, replacing=False)

    def _change(
        self,
        vectors: Float[np.ndarray, "N D"] | None,
        items: Sequence[Mapping[str, Any]],
        removed: Sequence[str],
        replacing: bool,
    ) -> None:
        new = np.zeros((0, self.about["width"]), np.float32) if vectors is None else vectors
        if new.shape != (len(items), self.about["width"]):
            raise DeixisError(
                f"Vectors of shape {list(new.shape)} were given for {len(items)} items.",
                f"Give each item one of width {self.about['width']}.",
            )
        ready = unit(new, "Vector")
        with self._transaction() as cursor:
            self._delete(cursor, [form.storable(each) for each in removed], strict=True)
            if replacing:
                self._delete(cursor, [form.storable(str(each.get("id"))) for each in items], strict=False)
            self._copy(cursor, [ready], items)

    def _delete(self, cursor: Any, ids: Sequence[str], strict: bool) -> None:
        if not ids:
            return
        gone = cursor.execute(statement("DELETE FROM {} WHERE id = ANY(%s) RETURNING id", self.table), [list(ids)])
        absent = set(ids) - {row[0] for row in gone.fetchall()}
        if strict and absent:
            raise DeixisError(
                f"The collection {self.table!r} has no item with the id {form.restored(min(absent))!r}.",
                "Nothing was changed.",
            )

    def _copy(self, cursor: Any, blocks: Any, items: Any) -> None:
        copying = statement("COPY {} (id, item, facts, embedding) FROM STDIN (FORMAT BINARY)", self.table)
        with cursor.copy(copying) as copy:
            for data in form.copied(blocks, with_ids(items), self.about["dtype"]):
                copy.write(data)

    def _check_graph(self) -> None:
        most = _WIDEST[self.about["dtype"]]
        if self.about["width"] > most:
            raise DeixisError(
                f"A graph of pgvector takes vectors of up to {most} numbers, these have {self.about['width']}.",
                "Search exactly, or store the vectors as float16, which takes up to 4000.",
            )

    def search(
        self,
        queries: Float[np.ndarray, "Q D"] | Float[np.ndarray, " D"],
        k: int = 10,
        *,
        where: Sequence[str] = (),
        approximate: bool = False,
    ) -> list[list[Match]]:
        """The k best answers to each query, best first; exactly those of `Index.search`.

        Args:
            queries: one vector a row, of any length but zero.
            k: answers wanted; fewer come where fewer rows meet the conditions.
            where: conditions on what the items say, see `filters`; the server tries them row by row.
            approximate: use the graph, if there is one: quicker by far on millions of rows, and some answers may be
                missing. Scores are exact all the same.

        Raises:
            DeixisError: another width, a query without direction, k below 1, a condition that can't be read or a
                column that no item has, or the server is gone.
        """
        asked = np.atleast_2d(queries)
        if asked.shape[1] != self.about["width"]:
            raise DeixisError(
                f"The query has {asked.shape[1]} numbers, the vectors of {self.table!r} have {self.about['width']}.",
                f"Encode it with the model that made them, {self.about['model']!r}.",
            )
        if k < 1:
            raise DeixisError(f"k is {k}.", "It must be at least 1.")
        prepared = unit(asked, "Query")
        filtered = [form.condition(each, place) for place, each in enumerate(where)]
        with self._transaction() as cursor:
            self._check_columns(cursor, [name for name, _, _ in filtered])
            clauses = " AND ".join(f"({clause})" for _, clause, _ in filtered) or "TRUE"
            values = {key: value for _, _, each in filtered for key, value in each.items()}
            quick = [self._quick(cursor, query, k, clauses, values) for query in prepared] if approximate else []
            cursor.execute("SET LOCAL enable_indexscan = off")
            return [
                quick[row] if approximate and len(quick[row]) == k else self._exact(cursor, query, k, clauses, values)
                for row, query in enumerate(prepared)
            ]

    def _check_columns(self, cursor: Any, names: Sequence[str]) -> None:
        for name in names:
            there = statement("SELECT 1 FROM {} WHERE jsonb_exists(facts, %s) LIMIT 1", self.table)
            if cursor.execute(there, [form.storable(name)]).fetchone() is None:
                keys = cursor.execute(
                    statement("SELECT DISTINCT jsonb_object_keys(facts) FROM {}", self.table)
                ).fetchall()
                if keys:
                    raise unknown(name, {form.restored(key) for (key,) in keys})

    def _exact(self, cursor: Any, query: np.ndarray, k: int, clauses: str, values: Mapping[str, Any]) -> list[Match]:
        """Takes ever more candidates until no row left behind can score as high as the last answer."""
        take, near = k + _SPARE, 2 * margin(len(query)) + (_HALF if self.about["dtype"] == "float16" else 0)
        while True:
            found, last = self._candidates(cursor, query, take, clauses, values, "vector")
            if len(found) < take or found[k - 1].score > last + near:
                return found[:k]
            take *= 2

    def _quick(self, cursor: Any, query: np.ndarray, k: int, clauses: str, values: Mapping[str, Any]) -> list[Match]:
        take = min(k + _SPARE, _MOST)
        cursor.execute("SELECT set_config('hnsw.ef_search', %s, true)", [str(min(2 * take, _MOST))])
        with (
            contextlib.suppress(driver().Error),
            cursor.connection.transaction(),
        ):
            # Filters are tried on what the graph gives: with pgvector 0.8 it then gives more.
            cursor.execute("SET LOCAL hnsw.iterative_scan = strict_order")
        return self._candidates(cursor, query, take, clauses, values, form.KINDS[self.about["dtype"]][0])[0][:k]

    def _candidates(
        self, cursor: Any, query: np.ndarray, take: int, clauses: str, values: Mapping[str, Any], kind: str
    ) -> tuple[list[Match], float]:
        """Rows near a query, scored exactly and best first, and the server's own score of the last."""
        stored = "embedding" if kind == form.KINDS[self.about["dtype"]][0] else f"embedding::{kind}"
        distance = f"{stored} <=> %(query)s::{kind}"
        text = f"SELECT item, place, embedding, {distance} FROM {{}} WHERE {clauses} ORDER BY {distance} LIMIT %(take)s"
        asked = {**values, "query": form.written(query), "take": take}
        rows = cursor.execute(statement(text, self.table), asked).fetchall()
        if not rows:
            return [], 0.0
        vectors = np.stack([form.vector(row[2], self.about["dtype"]) for row in rows])
        places, zeros = np.array([row[1] for row in rows]), np.zeros(len(rows), np.int64)
        scores = rescored(vectors, np.arange(len(rows)), query[None].astype(np.float64), zeros)
        best = np.lexsort((places, -scores)).tolist()
        return [Match(float(scores[row]), form.restored(rows[row][0]), rows[row][1]) for row in best], 1 - rows[-1][3]

    def _create(self, cursor: Any) -> None:
        cursor.execute("CREATE EXTENSION IF NOT EXISTS vector")
        kind = f"{form.KINDS[self.about['dtype']][0]}({int(self.about['width'])})"
        columns = "id text PRIMARY KEY, item jsonb NOT NULL, facts jsonb NOT NULL"
        counted = "place bigint GENERATED ALWAYS AS IDENTITY"
        cursor.execute(statement(f"CREATE TABLE {{}} ({counted}, {columns}, embedding {kind} NOT NULL)", self.table))
        cursor.execute(f"CREATE TABLE IF NOT EXISTS {ABOUT} (name text PRIMARY KEY, about jsonb NOT NULL)")
        cursor.execute(
            f"INSERT INTO {ABOUT} VALUES (%s, %s) ON CONFLICT (name) DO UPDATE SET about = EXCLUDED.about",
            [self.table, json.dumps({"format": 1, **self.about})],
        )

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Any]:
        """A cursor whose statements all hold, or none; whatever the server says becomes a `DeixisError`."""
        check_name(self.table)
        if self.about["dtype"] not in form.KINDS:
            raise DeixisError(f"Vectors can't be stored as {self.about['dtype']!r}.", "Choose float32 or float16.")
        with self._lock, database_errors(self.table):
            if self._opened is None or self._opened.closed:
                self._opened = connect(self.dsn)
            with self._opened.transaction(), self._opened.cursor(binary=True) as cursor:
                yield cursor


def _stored(index: Index, progress: Callable[[int, int], None] | None) -> Iterator[Float[np.ndarray, "_ D"]]:
    done = 0
    for _, part in index.live_vectors():
        yield part
        done += len(part)
        if progress is not None:
            progress(done, len(index))
