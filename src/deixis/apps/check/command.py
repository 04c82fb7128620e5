"""`deixis check` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "corrupt, doubled, missing, cut, lopsided: a table",
    example="deixis check my-photos --json report.json",
    arguments="DATA",
    see=("deixis label", "docs/checking.md"),
    group="data",
    order=1,
    python="deixis.apps.common.dataset",
    what=("model",),
    output=("json",),
)

READING = Reading()


def run(
    data: str,
    /,
    model: str = "",
    json: str = "",
    reading: Reading = READING,
    quiet: bool = False,
) -> int:
    """Looks for what is corrupt, doubled, missing, cut, lopsided or leaking, and learns nothing.

    Exit code: 0 clean, 1 warnings, 2 unusable.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        model: whose tokens captions are counted in; else CLIP's 77, where its table was fetched, or the starter's.
        json: a file for the whole report, with all paths; - for standard output, and nothing else there.
        reading: columns and the like.
        quiet: print nothing but --json -.
    """
    from deixis.apps.common import dataset as app

    return app.check(data, reading, model=model, json=json, quiet=quiet).status
