"""`deixis label` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "begin a csv of captions, the most telling images first",
    example="deixis label my-photos --out labels.csv",
    arguments="DATA",
    see=("deixis check", "deixis adapt", "docs/data.md"),
    group="data",
    order=2,
    python="deixis.apps.label.label",
    what=("model",),
)

READING = Reading()


def run(
    data: str,
    /,
    out: str = "labels.csv",
    model: str = "starter",
    reading: Reading = READING,
    overwrite: bool = False,
) -> int:
    """Begins a csv of captions, with the images that tell most about the collection first.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the csv to write.
        model: whose eyes decide which images are unlike one another.
        reading: columns and the like.
        overwrite: replace the csv that is there, captions and all.
    """
    from deixis.apps.label import label as app

    app.label(data, out, model, reading, overwrite=overwrite)
    return 0
