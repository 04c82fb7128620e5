"""`deixis adapt` on the command line."""

from __future__ import annotations

from deixis.apps.adapt.settings import AdaptSettings
from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "adapt a model to your images and measure the gain",
    example="deixis adapt my-photos --out my-run",
    arguments="DATA",
    see=("deixis search", "deixis explain", "docs/adapting.md"),
    group="your pictures",
    order=1,
    python="deixis.apps.adapt.adapt",
    what=("model", "method", "task", "votes", "about"),
    rare=("templates", "train", "layers"),
)

SETTINGS = AdaptSettings()
READING = Reading()


def run(
    data: str,
    /,
    out: str = "deixis-run",
    settings: AdaptSettings = SETTINGS,
    reading: Reading = READING,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Adapts a model to your images and measures the gain on held-out concepts.

    Args:
        data: folder (captions as .txt beside the images, or class sub-folders), csv / tsv / jsonl / json / parquet,
            shards (x-{000..099}.tar), or set:NAME (set:NAME/PART for a part of it).
        out: run folder to write.
        settings: model, method, splits and seed.
        reading: names of columns.
        overwrite: replace an existing run in that folder.
        quiet: print nothing.
    """
    from deixis.apps.adapt.tasks import adapt_or_index

    adapt_or_index(data, out, settings, reading, overwrite=overwrite, quiet=quiet)
    return 0
