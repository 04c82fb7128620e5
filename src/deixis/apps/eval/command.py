"""`deixis eval` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.eval.settings import EvalSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "measure and compare models by published protocols",
    example="deixis eval my-classes --model starter my-run --protocol zero-shot knn",
    arguments="DATA --model NAME",
    see=("deixis adapt", "docs/protocols.md"),
    group="methods",
    order=4,
    what=("protocol", "model", "encoders", "at", "methods", "ask"),
    rare=("limit", "style", "templates", "neighbours"),
)

READING = Reading()
SETTINGS = EvalSettings()


def run(
    data: str,
    /,
    out: str = "deixis-eval",
    settings: EvalSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Measures and compares models by published protocols on your own data, with intervals.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: folder to write.
        settings: protocols, models and methods.
        reading: names of columns.
        overwrite: replace existing results in that folder.
        quiet: print only the result.
    """
    from deixis.apps.eval import evaluate as app

    app.evaluate(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0
