"""`deixis export` on the command line."""

from __future__ import annotations

import os

from deixis import zoo
from deixis.apps.common.early_checks import require_run
from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.export.settings import Database, ExportSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "write a model or an index for other programs",
    example="deixis export my-run --onnx --out my-onnx",
    arguments="MODEL --onnx",
    see=("deixis adapt", "docs/loading.md"),
    group="your pictures",
    order=5,
    what=("onnx", "int8", "to", "data"),
    rare=("dsn", "table", "graph"),
)

READING = Reading()
SETTINGS = ExportSettings()
DATABASE = Database()


def run(
    model: str,
    /,
    out: str = "deixis-export",
    settings: ExportSettings = SETTINGS,
    database: Database = DATABASE,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Writes the model of a run, or its index, for other programs.

    A model is written as ONNX or as a folder of open_clip or transformers; an index for faiss, numpy or PostgreSQL.

    Args:
        model: run folder, model folder, or name of a model.
        out: folder to write.
        settings: the format.
        database: connection, for --to postgres.
        reading: names of columns of --data.
        overwrite: replace an existing export or run in that folder.
        quiet: print nothing.
    """
    if model not in zoo.MODELS and not {":", "/"} & set(model) and not os.path.exists(model):
        require_run(model)
    if settings.to in ("npy", "faiss", "postgres"):
        from deixis.apps.export import exchange

        exchange.export_index(model, settings.to, out, database, overwrite=overwrite, quiet=quiet)
        return 0
    from deixis.apps.export import export as app

    app.export(model, settings, reading, out=out, overwrite=overwrite, quiet=quiet)
    return 0
