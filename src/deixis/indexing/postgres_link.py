"""The way to a PostgreSQL server, and in words what it refuses; see `postgres`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from deixis.errors import DeixisError, require

__all__ = ["close_on_error", "connect", "database_errors", "driver", "statement"]

_GONE = ("08", "57", "28", "3D")
_CURES = {
    "23505": "Replace such an item instead of adding it, or give it another id. Nothing was changed.",
    "42P07": "Choose another name than {table}, or let the collection be replaced.",
    "42501": "Ask who runs the server for that right. Nothing was changed.",
    "58P01": "Install pgvector on the server (Debian: postgresql-17-pgvector). Nothing was changed.",
    "0A000": "Install pgvector on the server (Debian: postgresql-17-pgvector). Nothing was changed.",
    "53100": "Free some space on the server. Nothing was changed.",
}


def driver() -> Any:
    """The package psycopg, loaded when it is needed.

    Raises:
        DeixisError: it is not installed.
    """
    return require("psycopg", "postgres", "reach PostgreSQL")


def statement(text: str, name: str) -> Any:
    """A statement with the name of a table or index, quoted, in the place of {}."""
    sql = driver().sql
    return sql.SQL(text).format(sql.Identifier(name))


def connect(dsn: str) -> Any:
    """A connection, each of whose statements holds by itself unless a transaction is begun.

    Args:
        dsn: as libpq reads it; it may hold a password, which no message tells.

    Raises:
        DeixisError: it can't be read; what the server refuses is left to `database_errors`.
    """
    psycopg = driver()
    try:
        given = psycopg.conninfo.conninfo_to_dict(dsn)
    except psycopg.ProgrammingError:  # without its words, which may hold a password
        raise DeixisError(
            "The address of the database can't be read.", "Write it like postgresql://user@host/database."
        ) from None
    patience = {} if "connect_timeout" in given else {"connect_timeout": 10}
    return psycopg.connect(dsn, autocommit=True, client_encoding="utf8", **patience)


@contextlib.contextmanager
def close_on_error(opened: Any) -> Iterator[Any]:
    """Closes what was opened where something goes wrong; else it stays open."""
    try:
        yield opened
    except BaseException:
        opened.close()
        raise


@contextlib.contextmanager
def database_errors(table: str = "") -> Iterator[None]:
    """Says in words what PostgreSQL refuses.

    Raises:
        DeixisError: what it refused, and how to mend it.
    """
    psycopg = driver()
    try:
        yield
    except psycopg.Error as error:
        why = (error.diag.message_primary or str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".")
        why += f" ({error.diag.message_detail.rstrip('.')})" if error.diag.message_detail else ""
        state = error.sqlstate or ""
        cure = _CURES.get(state, "Nothing was changed.").format(table=table)
        if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError) and (not state or state[:2] in _GONE):
            raise DeixisError(
                f"The PostgreSQL server can't be reached, or has gone: {why}.",
                "Check its address and that it runs, then do this again. Nothing was changed.",
            ) from error
        raise DeixisError(f"PostgreSQL refused: {why}.", cure) from error
