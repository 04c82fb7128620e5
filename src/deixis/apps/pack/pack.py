"""Collections as tar shards: what the reader understood, written once in a form that many readers share."""

from __future__ import annotations

import collections
from pathlib import Path

from deixis.apps.common.console import Reporter
from deixis.apps.common.dataset import read
from deixis.apps.common.options import Reading
from deixis.apps.common.runs import writable
from deixis.data.readers.captions import excerpt
from deixis.data.writers.pack import Packed, check_place
from deixis.data.writers.pack import pack as write
from deixis.files import explained

__all__ = ["pack"]


def pack(
    data: str,
    shards: str | Path,
    reading: Reading | None = None,
    *,
    size: int = 1000,
    name: str = "shard",
    overwrite: bool = False,
    quiet: bool = False,
) -> Packed:
    """Writes DATA as webdataset shards with an index beside each, and says how they are read.

    Args:
        data: what `read` takes.
        shards: the folder to write.
        reading: columns and the like, where they are not to be guessed.
        size: the most samples in a shard.
        name: what the shards' names begin with.
        overwrite: replace the shards that are there.
        quiet: print nothing.
    """
    out, talk = Path(shards), Reporter(quiet)
    writable(out)
    check_place(out, overwrite)
    source = read(data, reading)
    for note in source.notes:
        talk.say(note)
    with explained(out), talk.bar("pack samples") as bar:
        packed = write(source, out, samples_per_shard=size, name=name, overwrite=overwrite, progress=bar)
    _tell(packed, out, name, talk)
    return packed


def _tell(packed: Packed, out: Path, name: str, talk: Reporter) -> None:
    counts = collections.Counter(item.reason for item in packed.skipped)
    first = {item.reason: item for item in reversed(packed.skipped)}
    rows = [(reason, n, excerpt(f"{first[reason].path}: {first[reason].detail}", 160)) for reason, n in counts.items()]
    if rows:
        talk.table("Left out", ("reason", "count", "example"), rows)
    count, last = len(packed.shards), len(packed.shards) - 1
    samples = f"{min(packed.counts)} to {max(packed.counts)}" if len(set(packed.counts)) > 1 else str(packed.counts[0])
    talk.result(
        f"{sum(packed.counts)} samples in {count} shard{'s' if count > 1 else ''} of {samples}, "
        f"{packed.bytes / 1e6:,.1f} MB, in {out}."
    )
    talk.result(f"Every command reads them: deixis check {out}")
    pattern = f"{name}-{{000000..{last:06}}}.tar" if count > 1 else f"{name}-000000.tar"
    talk.result(f"webdataset reads {out / pattern}; at most {count} of its workers have something to do.")
