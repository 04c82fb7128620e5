"""`deixis index` on the command line."""

from __future__ import annotations

from pathlib import Path

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.index.settings import IndexSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "make a folder searchable, without captions or labels",
    example="deixis index my-photos --out my-index",
    arguments="DATA",
    see=("deixis search", "deixis serve", "docs/searching.md"),
    group="your pictures",
    order=2,
    python="deixis.apps.index.index",
    what=("model", "add", "update", "remove", "read"),
    rare=("at", "verify", "dtype", "dims", "approximate"),
)

READING = Reading()
SETTINGS = IndexSettings()


def run(
    data: tuple[str, ...],
    /,
    out: str = "deixis-index",
    settings: IndexSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Makes a collection of images searchable; captions are not needed.

    An interrupted run resumes when the same command is run again. Works under torchrun. To update the index later:
    deixis index my-photos --out my-index --update

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: folder of the index.
        settings: the model, and how an existing index is changed.
        reading: names of columns.
        overwrite: replace an existing run or index in that folder.
        quiet: print nothing.
    """
    if settings in (IndexSettings(add=True), IndexSettings(update=True)) and not overwrite:
        from deixis.apps.common.console import Reporter
        from deixis.apps.index.unchanged_folder import say_if_unchanged

        if say_if_unchanged(data, Path(out), reading, Reporter(quiet)):
            return 0  # without torch
    from deixis.apps.index import index as app

    app.index_folder(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0
