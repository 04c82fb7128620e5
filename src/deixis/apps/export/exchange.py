"""`deixis export RUN --to npy|faiss|postgres`: an index for other programs."""

from __future__ import annotations

import os
from pathlib import Path

from deixis.apps.common.console import Reporter
from deixis.apps.common.runs import opened_index, writable
from deixis.apps.export.settings import Database
from deixis.errors import DeixisError
from deixis.files import explained
from deixis.indexing import exchange
from deixis.indexing.postgres import Postgres

__all__ = ["FORMS", "export_index"]

FORMS = ("npy", "faiss", "postgres")
"""What an index can be written as."""


def export_index(
    run: str | Path,
    to: str,
    out: str | Path = "deixis-export",
    database: Database | None = None,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Writes the index of a run for other programs; the model, which queries need, is exported by itself.

    Args:
        run: a folder that `deixis adapt` or `deixis index` wrote.
        to: one of `FORMS`.
        out: the folder to write, but for postgres.
        database: where it goes, for postgres.
        overwrite: replace an export at `out`, or a collection of this name in the database.
        quiet: print nothing.

    Raises:
        DeixisError: there is no such index, the place is taken, the disk is full, or the server refuses.
    """
    if to not in FORMS:
        raise DeixisError(f"An index can't be written as {to!r}.", f"Choose of {', '.join(FORMS)}.")
    index, talk, database = opened_index(Path(run)), Reporter(quiet), database or Database()
    maker = f"made by {index.manifest['model']} ({index.manifest['fingerprint'][:12]})"
    if to == "postgres":
        with talk.bar("vectors") as bar:
            table = Postgres.of(
                index, database.dsn, database.table, graph=database.graph, replace=overwrite, progress=bar
            )
        table.close()
        talk.result(f"{len(index)} vectors, {maker}, are in the table {database.table}.")
        return
    out = Path(out)
    writable(out)
    with explained(out):
        (exchange.to_npy if to == "npy" else exchange.to_faiss)(index, out, replace=overwrite)
    talk.result(
        f"{len(index)} vectors, {maker}, are in {out}{os.sep}vectors.{to}, their items in items.jsonl beside them."
    )
