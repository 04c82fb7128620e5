"""`deixis ground` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.ground.settings import GroundSettings

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
READING = Reading()


def run(
    data: str,
    phrases: tuple[str, ...],
    /,
    out: str = "",
    settings: GroundSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> None:
    """Locates phrases in pictures: boxes, and masks if the method gives them.

    Args:
        data: a picture, or a folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        phrases: one or several phrases to locate, each in quotation marks.
        out: .csv file, .png file (for one picture), or folder for a csv and a picture of each; by default only printed.
        settings: model and number of boxes.
        reading: names of columns.
        overwrite: replace existing files.
        quiet: print nothing.
    """
    from deixis.apps.ground.ground import ground_with
    from deixis.apps.predict.capable import open_method
    from deixis.apps.predict.writing import predict_data

    with settings.active():
        method = open_method(settings.model, "ground")
        predict_data(
            method, data, ground_with(method, phrases, settings.count), out, reading, overwrite=overwrite, quiet=quiet
        )
