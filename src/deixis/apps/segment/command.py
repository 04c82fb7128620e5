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
    """Segments pictures: predicts the class of each pixel.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        model: run folder whose method offers `segment`.
        out: .csv file, .png file (for one picture), or folder for a csv, a picture of each and its label map; by
            default only printed.
        reading: names of columns.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data
    from deixis.apps.segment.segment import segment_with

    method = open_method(model, "segment")
    predict_data(method, data, segment_with(method), out, reading, overwrite=overwrite, quiet=quiet)
