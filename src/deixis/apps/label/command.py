"""`deixis label` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import ComputeSettings, Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.label.settings import LabelRows
from deixis.errors import DeixisError

__all__ = ["VERB", "run"]

VERB = Verb(
    "start a csv of captions, most informative images first",
    example="deixis label unsorted --out labels.csv",
    arguments="DATA",
    see=("deixis check", "deixis adapt", "docs/data.md"),
    group="data",
    order=2,
    python="deixis.apps.label.label",
    what=("model",),
)

READING = Reading()
COMPUTE = ComputeSettings()
ROWS = LabelRows()


def run(
    data: str,
    /,
    out: str = "labels.csv",
    model: str = "starter",
    reading: Reading = READING,
    compute: ComputeSettings = COMPUTE,
    overwrite: bool = False,
    rows: LabelRows = ROWS,
) -> int:
    """Starts a csv file to fill in with captions, the most informative images first.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: csv file to write.
        model: name or folder of the model whose image tower measures how similar images are.
        reading: names of columns.
        compute: device, batch and precision.
        overwrite: replace an existing csv file, including the captions in it.
        rows: drafts, or triplets in their place.
    """
    if rows.drafts:
        if rows.triplets:
            raise DeixisError("--drafts and --triplets write different rows.", "Leave one of them out.")
        from deixis.apps.caption.drafts import write_drafts
        from deixis.apps.caption.settings import CaptionSettings
        from deixis.apps.predict.settings import PredictOutput

        write_drafts(data, CaptionSettings(**vars(compute)), PredictOutput(out, overwrite), reading, model)
        return 0
    from deixis.apps.label import label as app

    app.label(data, out, model, reading, compute=compute, overwrite=overwrite, triplets=rows.triplets)
    return 0
