"""`deixis caption` on the command line."""

from __future__ import annotations

from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput
from deixis.errors import DeixisError

__all__ = ["VERB", "run"]

VERB = Verb(
    "generate captions for pictures",
    example="deixis caption my-photos --model my-run --out captions.csv",
    arguments="DATA",
    see=("deixis label", "deixis adapt", "docs/predicting.md"),
    group="pictures, one by one",
    order=4,
    python="deixis.apps.caption.caption",
    what=("model", "proposals"),
    rare=("rewrite",),
)

OUTPUT = PredictOutput()
READING = Reading()
SETTINGS = CaptionSettings()


def run(
    data: str,
    /,
    settings: CaptionSettings = SETTINGS,
    output: PredictOutput = OUTPUT,
    reading: Reading = READING,
    sentences: bool = False,
    proposals: str = "",
    rewrite: str = "",
) -> None:
    """Generates a caption for each picture; the csv can be DATA of other commands.

    With --sentences no model is needed: several sentences about each picture are written from the boxes of the data, or
    from what --proposals detects, for `deixis train dreamlip --sentences`.

    With --classes it is the classes of the data that are described, in a csv for --knowledge of `deixis adapt`: only
    texts that are nearer to their own class than to another, and how many are not is reported.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        settings: model, device, batch and precision.
        output: files, or the terminal.
        reading: names of columns.
        sentences: write a csv of several sentences for each picture: what there is, how many, where, in which colour.
        proposals: with --sentences: the part that detects what is there, such as `centernet`; by default the boxes of
            the data.
        rewrite: with --sentences: the language model that puts each sentence in other words; what names anything new is
            dropped.
    """
    if settings.classes:
        if sentences:
            raise DeixisError("--classes and --sentences write different files.", "Leave one of them out.")
        from deixis.apps.caption.class_texts import write_class_texts

        write_class_texts(data, settings, output, reading)
        return
    if sentences:
        from deixis.apps.caption.sentences import write_sentences

        write_sentences(data, settings, output, reading, proposals, rewrite)
        return
    if proposals or rewrite:
        raise DeixisError("--proposals and --rewrite are for sentences.", "Add --sentences, or leave them out.")
    from deixis.apps.caption.caption import caption_with
    from deixis.apps.predict.writing import predict_data

    predict_data("caption", data, caption_with, settings, output, reading)
