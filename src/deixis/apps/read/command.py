"""`deixis read` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput, PredictSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "read the text in pictures",
    example="deixis read photo.jpg",
    arguments="DATA",
    see=("deixis data", "deixis caption", "docs/predicting.md"),
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
    """Finds lines of text in pictures and reads them (OCR): what is written, where, and how sure that is.

    Without --model PP-OCRv4 does it, which `deixis data get reader` brings. With a run of parseq or dptr, that finds
    the lines and the run reads them; where it is not there, the run reads each picture as one word.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: names of columns.
    """
    if not settings.model:  # refused before torch is imported
        from deixis.data.datasets.sources.reader import require_reader

        require_reader()
    from deixis.apps.read.read import read_collection

    read_collection(data, settings, output, reading)
