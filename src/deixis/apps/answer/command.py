"""`deixis answer` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "answer questions about pictures",
    example='deixis answer photo.jpg "how many birds are there?" --model my-run',
    arguments="DATA QUESTION...",
    see=("deixis caption", "docs/predicting.md"),
    group="pictures, one by one",
    order=5,
    python="deixis.apps.answer.answer",
    what=("model",),
)

READING = Reading()
SETTINGS = PredictSettings()


def run(
    data: str,
    questions: tuple[str, ...],
    /,
    out: str = "",
    settings: PredictSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Answers questions about pictures: each question for each picture.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        questions: one or several questions, each in quotation marks.
        out: .csv file, .png file (for one picture), or folder for a csv and a picture of each; by default only printed.
        settings: model, device, batch and precision.
        reading: names of columns.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    from deixis.apps.answer.answer import answer_with
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data

    with settings.active():
        method = open_method(settings.model, "answer")
        predict_data(method, data, answer_with(method, questions), out, reading, overwrite=overwrite, quiet=quiet)
