"""`deixis eval` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.eval.settings import EvalSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "few-shot, base-to-new, cross-style, saliency: with intervals",
    example="deixis eval my-photos --protocol base-to-new",
    arguments="DATA --protocol NAME",
    see=("deixis adapt", "docs/protocols.md"),
    group="methods",
    order=4,
    what=("protocol", "model", "methods"),
    rare=("limit", "style"),
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
    """Measures a model by a published protocol on your own data, with intervals.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the folder to write.
        settings: the protocol, the model, the methods.
        reading: columns and the like.
        overwrite: replace what is there.
        quiet: print nothing but the result.
    """
    from deixis.apps.eval import evaluate as app

    app.evaluate(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0
