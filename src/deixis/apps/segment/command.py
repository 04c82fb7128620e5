"""`deixis segment` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictSettings

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
SETTINGS = PredictSettings()


def run(
    data: str,
    /,
    out: str = "",
    settings: PredictSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Segments pictures: predicts the class of each pixel.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: .csv file, .png file (for one picture), or folder for a csv, a picture of each and its label map; by
            default only printed.
        settings: model, device, batch and precision.
        reading: names of columns.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data
    from deixis.apps.segment.segment import segment_with

    with settings.active():
        method = open_method(settings.model, "segment")
        predict_data(method, data, segment_with(method), out, reading, overwrite=overwrite, quiet=quiet)
