"""`deixis read` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictSettings

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
    """Recognises the text in pictures (OCR).

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: .csv file, .png file (for one picture), or folder for a csv and a picture of each; by default only printed.
        settings: model, device, batch and precision.
        reading: names of columns.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data
    from deixis.apps.read.read import read_with

    with settings.active():
        method = open_method(settings.model, "read")
        predict_data(method, data, read_with(method), out, reading, overwrite=overwrite, quiet=quiet)
