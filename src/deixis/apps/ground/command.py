"""`deixis ground` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.ground.settings import GroundSettings
from deixis.apps.predict.settings import PredictOutput

__all__ = ["VERB", "run"]

VERB = Verb(
    "locate phrases in pictures, as boxes",
    example='deixis ground photo.jpg "a red bird" --model my-run --out bird.png',
    arguments="DATA PHRASE...",
    see=("deixis explain", "docs/predicting.md"),
    group="pictures, one by one",
    order=2,
    python="deixis.apps.ground.ground",
    what=("model",),
)

SETTINGS = GroundSettings()
OUTPUT = PredictOutput()
READING = Reading()


def run(
    data: str,
    phrases: tuple[str, ...],
    /,
    settings: GroundSettings = SETTINGS,
    output: PredictOutput = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Locates phrases in pictures: boxes, and masks if the method gives them.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        phrases: one or several phrases to locate, each in quotation marks.
        settings: model and number of boxes.
        output: files, or the terminal.
        reading: names of columns.
    """
    from deixis.apps.ground.ground import ground_with
    from deixis.apps.predict.writing import predict_data

    predict_data("ground", data, lambda method: ground_with(method, phrases, settings.count), settings, output, reading)
