"""`deixis caption` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "generate captions for pictures",
    example="deixis caption my-photos --model my-run --out captions.csv",
    arguments="DATA",
    see=("deixis label", "deixis adapt", "docs/predicting.md"),
    group="pictures, one by one",
    order=4,
    python="deixis.apps.caption.caption",
    what=("model",),
)

READING = Reading()


def run(
    data: str,
    /,
    model: str = "",
    out: str = "",
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Generates a caption for each picture; the csv can be DATA of other commands.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        model: run folder whose method offers `caption`.
        out: .csv file, .png file (for one picture), or folder for a csv and a picture of each; by default only printed.
        reading: names of columns.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    from deixis.apps.caption.caption import caption_with
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data

    method = open_method(model, "caption")
    predict_data(method, data, caption_with(method), out, reading, overwrite=overwrite, quiet=quiet)
