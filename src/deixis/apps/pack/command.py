"""`deixis pack` on the command line."""

from __future__ import annotations

from deixis.apps.common.options import Reading
from deixis.apps.common.verbs import Verb

__all__ = ["VERB", "run"]

VERB = Verb(
    "write data as tar shards for training",
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
    """Writes data as tar shards in the webdataset format, with an index file for each.

    Args:
        data: folder, csv / tsv / jsonl / json / parquet, shards (x-{000..099}.tar), or set:NAME.
        shards: folder to write.
        size: maximum number of samples per shard; make at least as many shards as there are reading processes.
        name: prefix of the file names of the shards.
        reading: names of columns.
        overwrite: replace existing shards in that folder.
    """
    from deixis.apps.pack import pack as app

    app.pack(data, shards, reading, size=size, name=name, overwrite=overwrite)
    return 0
