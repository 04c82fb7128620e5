"""`deixis answer` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput, PredictSettings

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

OUTPUT = PredictOutput()
READING = Reading()
SETTINGS = PredictSettings()


def run(
    data: str,
    questions: tuple[str, ...],
    /,
    settings: PredictSettings = SETTINGS,
    output: PredictOutput = OUTPUT,
    reading: Reading = READING,
    answers: tuple[str, ...] = (),
) -> None:
    """Answers questions about pictures: each question for each picture.

    With --answers one of these is chosen. Of one picture it is printed with its chance and the next two; in a csv an
    answer is left empty where it is less likely than all others together.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        questions: one or several questions, each in quotation marks.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: names of columns.
        answers: the only answers that may be given, such as red,green,blue.
    """
    from deixis.apps.answer.answer import answer_with
    from deixis.apps.common.console import Reporter
    from deixis.apps.predict.writing import predict_data

    listed = [each for some in answers for each in some.split(",")]
    say = Reporter(output.quiet).say
    predict_data("answer", data, lambda method: answer_with(method, questions, listed, say), settings, output, reading)
