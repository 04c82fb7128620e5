"""`deixis segment` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput
from deixis.apps.segment.settings import SegmentSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "classify every pixel of pictures",
    example='deixis segment photo.jpg "a dog" "grass"',
    arguments="DATA CLASS...",
    see=("deixis ground", "docs/predicting.md"),
    group="pictures, one by one",
    order=3,
    python="deixis.apps.segment.segment",
    what=("model", "method", "sampler", "stuff"),
)

OUTPUT = PredictOutput()
READING = Reading()
SETTINGS = SegmentSettings()


def run(
    data: str,
    classes: tuple[str, ...] = (),
    /,
    settings: SegmentSettings = SETTINGS,
    output: PredictOutput = OUTPUT,
    reading: Reading = READING,
) -> None:
    """Segments pictures: predicts the class of each pixel, everything else being class 0.

    Of a single picture NAME-segments.png, NAME-labels.png and NAME-segments.json (in COCO's form, with run lengths) are
    written to the working folder unless --out says otherwise. A folder as --out gets them of each picture.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        classes: their names, each in quotation marks: "a dog" "grass", or with --model what a run was taught: "<my
            mug>"; none with a model that has its own.
        settings: model or method.
        output: files, or the terminal.
        reading: names of columns.
    """
    from deixis.apps.segment.class_list import checked_classes

    checked_classes(classes, settings)  # wrong words are refused before torch is imported
    from deixis.apps.segment.segment import segment_data

    segment_data(data, classes, settings, output, reading)
