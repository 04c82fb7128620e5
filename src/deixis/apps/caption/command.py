"""`deixis caption` on the command line."""

from __future__ import annotations

from pathlib import Path

from deixis.apps.caption.settings import CaptionSettings
from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.predict.settings import PredictOutput
from deixis.errors import DeixisError

__all__ = ["VERB", "run"]

VERB = Verb(
    "generate captions for pictures, or drafts to look through",
    example="deixis caption my-photos --out captions.csv",
    arguments="DATA",
    see=("deixis label", "deixis adapt", "docs/predicting.md"),
    group="pictures, one by one",
    order=4,
    python="deixis.apps.caption.caption",
    what=("model", "method", "bank", "proposals"),
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
    """Drafts captions; or, with --model alone, generates one for each picture.

    The csv of --model alone can be DATA of other commands. Drafts stand in the csv of `deixis label`, in its order, in
    a column of their own beside the chance that each is right, as measured on captioned pictures held back; `deixis
    adapt` reads what you put into the column `caption`.

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
    if settings.method or settings.bank or not (settings.model or _is_picture(data)):
        from deixis.apps.caption.drafts import write_drafts

        write_drafts(data, settings, output, reading)
        return
    from deixis.apps.caption.caption import caption_with
    from deixis.apps.predict.writing import predict_data

    predict_data("caption", data, caption_with, settings, output, reading)


def _is_picture(data: str) -> bool:
    from deixis.inputs.formats import IMAGE_SUFFIXES

    return Path(data).suffix.lower() in IMAGE_SUFFIXES and Path(data).is_file()
