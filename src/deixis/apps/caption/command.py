"""`deixis caption` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput, PredictSettings

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

OUTPUT = PredictOutput()
READING = Reading()
SETTINGS = PredictSettings()


def run(
    data: str, /, settings: PredictSettings = SETTINGS, output: PredictOutput = OUTPUT, reading: Reading = READING
) -> None:
    """Generates a caption for each picture; the csv can be DATA of other commands.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: names of columns.
    """
    from deixis.apps.caption.caption import caption_with
    from deixis.apps.predict.writing import predict_data

    predict_data("caption", data, caption_with, settings, output, reading)
