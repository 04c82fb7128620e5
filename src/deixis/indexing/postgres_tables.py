"""What a collection's table is called in a PostgreSQL server, described by, and searched with approximately."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from deixis.errors import DeixisError
from deixis.indexing import postgres_form as form
from deixis.indexing.postgres_link import statement

__all__ = ["ABOUT", "about_collection", "check_name", "graph_sql", "with_ids"]

ABOUT = "deixis_collections"
"""The table that tells of all collections."""

_GRAPH = "m = 16, ef_construction = 64"  # links of a node, and nodes kept in hand while building


def graph_sql(table: str, dtype: str) -> Any:
    """The statement that builds a graph (HNSW)."""
    kind = form.KINDS[dtype][0]
    return statement(f"CREATE INDEX ON {{}} USING hnsw (embedding {kind}_cosine_ops) WITH ({_GRAPH})", table)


def check_name(table: str) -> None:
    """Refuses what can't be the name of a collection's table."""
    if not 1 <= len(table.encode("utf-8", "surrogatepass")) <= 63 or not table.isprintable() or table == ABOUT:
        raise DeixisError(f"A table can't be called {table!r}.", "Choose a name of up to 63 bytes, such as my_photos.")


def with_ids(items: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The items, each of which must have an `id`."""
    for place, item in enumerate(items):
        if not isinstance(item.get("id"), str):
            raise DeixisError(f"Item {place} has no id.", "Give each item an `id`, a text that no other has.")
        yield item


def about_collection(connection: Any, table: str) -> dict[str, Any] | None:
    """What is known of a collection; None where there is none, or its table is gone or another."""
    [known] = connection.execute("SELECT to_regclass(%s) IS NOT NULL", [ABOUT]).fetchone()
    columns = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(quote_ident(%s)) AND NOT attisdropped", [table]
    ).fetchall()
    if not known or not {"place", "id", "item", "facts", "embedding"} <= {name for (name,) in columns}:
        return None
    row = connection.execute(f"SELECT about FROM {ABOUT} WHERE name = %s", [table]).fetchone()
    return None if row is None else dict(row[0])
