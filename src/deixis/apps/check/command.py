"""`deixis check` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "report corrupt files, duplicates, train/test leaks and unbalanced classes",
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
    """Reports corrupt, duplicate, missing, truncated, unbalanced and leaking images and captions.

    Nothing is trained and no file is changed. Exit code: 0 no problem, 1 warnings, 2 unusable data.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        model: name or folder of the model whose tokenizer measures the length of captions; by default CLIP's (77
            tokens) if its vocabulary was fetched, else the starter's.
        json: file for the full report with all paths; - prints it to standard output and nothing else.
        reading: names of columns.
        quiet: print nothing except the output of --json -.
    """
    from deixis.apps.common import dataset as app

    return app.check(data, reading, model=model, json=json, quiet=quiet).status
