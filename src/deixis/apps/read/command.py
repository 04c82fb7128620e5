"""`deixis read` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput, PredictSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "read the text in pictures",
    example="deixis read my-photos --model my-run --out texts.csv",
    arguments="DATA",
    see=("deixis caption", "docs/predicting.md"),
    group="pictures, one by one",
    order=6,
    python="deixis.apps.read.read",
    what=("model",),
)

OUTPUT = PredictOutput()
READING = Reading()
SETTINGS = PredictSettings()


def run(
    data: str, /, settings: PredictSettings = SETTINGS, output: PredictOutput = OUTPUT, reading: Reading = READING
) -> None:
    """Recognises the text in pictures (OCR).

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: names of columns.
    """
    from deixis.apps.predict.writing import predict_data
    from deixis.apps.read.read import read_with

    predict_data("read", data, read_with, settings, output, reading)
