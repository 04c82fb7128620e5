"""`deixis ground` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.ground.settings import GroundSettings
from deixis.apps.predict.settings import PredictOutput

__all__ = ["VERB", "run"]

VERB = Verb(
    "locate phrases in pictures, as boxes",
    example='deixis ground photo.jpg "a dog"',
    arguments="DATA PHRASE...",
    see=("deixis data", "deixis explain", "docs/predicting.md"),
    group="pictures, one by one",
    order=2,
    python="deixis.apps.ground.ground",
    what=("model", "boxes"),
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

    With a run that offers answer_mask, phrases are questions, and masks show the pixels that the answers rest on.
    Of a single picture NAME-grounded.png and NAME-grounded.json are written to the working folder unless --out says
    otherwise. A .json is in COCO's form; its boxes can be corrected by hand.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        phrases: what is to be located, in quotation marks: "a cat and two dogs", "the red car on the left".
        settings: model and number of boxes.
        output: files, or the terminal.
        reading: names of columns.
    """
    from deixis.data.datasets.sources.detector import require_detector
    from deixis.inputs.phrases import noun_phrases_of

    if not settings.model:  # wrong words, and a detector that is not there, are refused before torch is imported
        noun_phrases_of(phrases)  # a model may take questions
        require_detector()
    from deixis.apps.ground.ground import ground_data

    ground_data(data, phrases, settings, output, reading)
