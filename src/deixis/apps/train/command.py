"""`deixis train` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb
from deixis.apps.train.settings import TrainSettings

__all__ = ["VERB", "run"]

VERB = Verb(
    "train a method; killed and run again, it goes on",
    example="deixis train clip --data my-photos --out my-run",
    arguments="NAME --data DATA",
    see=("deixis list", "deixis show", "docs/training.md"),
    group="methods",
    order=3,
    what=("data", "config", "set", "model"),
    rare=("chunk", "clip", "max_skipped", "workers", "tensorboard", "timeout", "shard", "log_every"),
)

READING = Reading()
SETTINGS = TrainSettings()


def run(
    name: str,
    /,
    data: str,
    out: str = "deixis-run",
    settings: TrainSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Trains a method on image-text data.

    Killed and run again, it goes on. Also under torchrun.

    Args:
        name: of the method, see `deixis list`.
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        out: the run folder; a run of the same settings that was begun there goes on.
        settings: the preset and what is changed of it, steps, batches, precision.
        reading: columns and the like.
        overwrite: replace the run that is there, finished or not.
        quiet: print nothing.
    """
    from deixis.apps.train import train as app

    app.train(name, data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0
