"""`deixis pack` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "write a collection as tar shards for training",
    example="deixis pack my-photos --shards my-shards",
    arguments="DATA",
    see=("deixis train", "docs/data.md"),
    group="data",
    order=3,
    output=("shards", "size", "name"),
)

READING = Reading()


def run(
    data: str,
    /,
    shards: str,
    size: int = 1000,
    name: str = "shard",
    reading: Reading = READING,
    overwrite: bool = False,
) -> int:
    """Writes a collection as tar shards, in webdataset's form and with an index beside each.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        shards: the folder to write.
        size: the most samples in a shard; more shards than readers are needed where each reads its own.
        name: what the shards' names begin with.
        reading: columns and the like.
        overwrite: replace the shards that are there.
    """
    from deixis.apps.pack import pack as app

    app.pack(data, shards, reading, size=size, name=name, overwrite=overwrite)
    return 0
