"""`deixis export RUN --to npy|faiss|postgres`: an index for other programs; and indices of other programs as runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from deixis.apps.common.console import Reporter
from deixis.apps.common.runs import explained, free_name, opened_index, run_folder, writable
from deixis.apps.export.settings import Database
from deixis.errors import DeixisError
from deixis.indexing import exchange
from deixis.indexing.index import Index
from deixis.indexing.postgres import Postgres

if TYPE_CHECKING:
    from deixis.nn.dual import DualEncoder

__all__ = ["FORMS", "export_index", "import_index"]

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
    talk.result(f"{len(index)} vectors, {maker}, are in {out}{os.sep}vectors.{to}, their items in items.jsonl beside.")


def import_index(
    source: str | Path,
    out: str | Path,
    model: str | DualEncoder,
    *,
    overwrite: bool = False,
    quiet: bool = False,
) -> Index:
    """Makes a run that can be searched out of vectors that were made elsewhere, and the model that made them.

    Args:
        source: a folder with `vectors.npy` or `vectors.faiss` and `items.jsonl`, or what `clip-retrieval inference`
            wrote.
        out: the folder to write.
        model: the model that made the vectors. Where the folder tells its fingerprint, it must be this one's; where it
            tells none, nobody can check.
        overwrite: replace what a run or index left at `out`.
        quiet: print nothing.

    Raises:
        DeixisError: nothing of the kind is there, files do not fit together or the model does not fit them, `out` is
            taken, or the disk is full.
    """
    from deixis import zoo

    source, out, talk = Path(source), Path(out), Reporter(quiet)
    readers = {
        source / "vectors.npy": exchange.from_npy,
        source / "vectors.faiss": exchange.from_faiss,
        source / "img_emb": exchange.from_clip_retrieval,
    }
    read = next((reader for place, reader in readers.items() if place.exists()), None)
    if read is None:
        raise DeixisError(
            f"{source} holds no vectors: no vectors.npy, vectors.faiss or img_emb.", "Give the folder of an export."
        )
    free_name(out, overwrite)
    encoder = (zoo.load(model) if isinstance(model, str) else model).eval()
    with run_folder(out, overwrite) as folder:
        index = read(source, folder / "index", model=encoder.name, fingerprint=encoder.fingerprint())
        if index.width != encoder.width:
            raise DeixisError(
                f"The vectors of {source} have {index.width} numbers, those of the model {encoder.name} "
                f"{encoder.width}.",
                "Name the model that made them.",
            )
        zoo.save(encoder, folder / "model")
    talk.result(f'{len(index)} vectors are in {out}. Search: deixis search {out} "words"')
    return Index.open(out / "index")
