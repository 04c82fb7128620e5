"""`deixis segment` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput, PredictSettings

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

OUTPUT = PredictOutput()
READING = Reading()
SETTINGS = PredictSettings()


def run(
    data: str, /, settings: PredictSettings = SETTINGS, output: PredictOutput = OUTPUT, reading: Reading = READING
) -> None:
    """Segments pictures: predicts the class of each pixel.

    A folder as --out also gets the label map of each picture.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: names of columns.
    """
    from deixis.apps.predict.writing import predict_data
    from deixis.apps.segment.segment import segment_with

    predict_data("segment", data, segment_with, settings, output, reading)
