"""`deixis words` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.words.settings import WordsSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "learn what your tags go with, and suggest missing ones",
    example="deixis words photos.csv --tags keywords --out my-words",
    arguments="DATA",
    see=("deixis label", "docs/words.md"),
    group="data",
    order=3,
    python="deixis.apps.words.words",
    what=("model", "tags", "by"),
    rare=("most", "seed", "crops"),
)

READING = Reading()
SETTINGS = WordsSettings()


def run(
    data: str,
    /,
    out: str = "deixis-words",
    settings: WordsSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Learns what tags go with and look like, and suggests those that pictures lack.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: folder to write: words.json, missing.csv and result.json.
        settings: model, column of tags and way of suggesting.
        reading: names of columns.
        overwrite: replace what an earlier run left at `out`.
        quiet: print nothing.
    """
    from deixis.apps.words import words as app

    app.words(data, settings, reading, out=out, overwrite=overwrite, quiet=quiet)
    return 0
