"""`deixis segment` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "classify every pixel of pictures",
    example="deixis segment my-photos --model my-run --out my-segments",
    arguments="DATA",
    see=("deixis ground", "docs/predicting.md"),
    group="pictures, one by one",
    order=3,
    python="deixis.apps.segment.segment",
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
    """Names the class of each pixel of pictures.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        model: run folder whose method offers `segment`.
        out: a .csv, a .png (of one picture), or a folder for a csv, a picture of each and the numbers of its classes;
            empty: only printed.
        reading: how DATA is read.
        overwrite: replace what is there.
        quiet: print nothing.
    """
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data
    from deixis.apps.segment.segment import segment_with

    method = open_method(model, "segment")
    predict_data(method, data, segment_with(method), out, reading, overwrite=overwrite, quiet=quiet)
