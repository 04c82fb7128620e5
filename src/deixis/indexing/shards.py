"""Several index folders of one model, searched by as many processes and answered as one.

    with IndexShards(["a/index", "b/index"]) as shards:
        hits = shards.search(queries, 10)
        shards.item(int(hits.shards[0, 0]), int(hits.rows[0, 0]))

Each process opens its folders and finds its own best; of these the best are taken. Scores do not depend on which rows
are scored together, see `exact`, so the answers are those of one index that holds all rows in the order of the folders.
Over several machines the same is done by PostgreSQL, see `postgres`.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int64

from deixis.errors import DeixisError
from deixis.indexing.exact import Hits
from deixis.indexing.index import Index

__all__ = ["IndexShards", "ShardHits"]

_opened: dict[str, Index] = {}  # of a process that searches


class ShardHits(NamedTuple):
    """The best answers of each query, best first: similarities, numbers of folders, and rows of those."""

    scores: Float32[np.ndarray, "Q k"]
    shards: Int64[np.ndarray, "Q k"]
    rows: Int64[np.ndarray, "Q k"]


class IndexShards:
    """Index folders that are searched together.

    Args:
        folders: of indexes that one model made; their order decides between equal scores.
        processes: that search; 0: one a folder, but no more than there are cores.

    Raises:
        DeixisError: no folder, one that is no index or damaged, or one of another model or width than the first.
    """

    def __init__(self, folders: Sequence[str | os.PathLike[str]], processes: int = 0) -> None:
        if not folders:
            raise DeixisError("No index folder was given.", "Give at least one.")
        self.indexes = [Index.open(Path(folder)) for folder in folders]
        for index in self.indexes[1:]:
            index.expect(self.indexes[0].manifest["fingerprint"])
        count = processes or min(len(folders), os.cpu_count() or 1)
        self._pool = concurrent.futures.ProcessPoolExecutor(count, multiprocessing.get_context("spawn"))

    def __enter__(self) -> IndexShards:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the processes."""
        self._pool.shutdown(cancel_futures=True)

    def __len__(self) -> int:
        return sum(map(len, self.indexes))

    def search(self, queries: Float[np.ndarray, "Q D"] | Float[np.ndarray, " D"], k: int = 10) -> ShardHits:
        """The k rows of highest cosine similarity over all folders, exactly; equal scores in the order of folders, then
        of rows.

        A folder that has been changed since it was opened is searched as it was: open the shards again.

        Args:
            queries: one vector a row, of any length but zero [Q, D].
            k: answers wanted; where there are fewer rows, all of them.

        Raises:
            DeixisError: as `Index.search`; a folder was changed or damaged meanwhile, or a process was ended.
        """
        asked = np.atleast_2d(queries)
        try:
            jobs = [self._pool.submit(_search, str(each.folder), each.source, asked, k) for each in self.indexes]
            found = [job.result() for job in jobs]
        except BrokenProcessPool as error:
            raise DeixisError(
                "A process that searched was ended from outside, perhaps for want of memory.",
                "Open the shards again, with fewer processes.",
            ) from error
        return _merged(found, k)

    def item(self, shard: int, row: int) -> dict[str, Any]:
        """What a row stands for.

        Args:
            shard: number of the folder.
            row: of it.

        Raises:
            DeixisError: there is no such folder or row.
        """
        if not 0 <= shard < len(self.indexes):
            raise DeixisError(f"There is no folder {shard}.", f"They go from 0 to {len(self.indexes) - 1}.")
        return self.indexes[shard].item(row)


def _search(folder: str, source: bytes, queries: Float[np.ndarray, "Q D"], k: int) -> Hits:
    """In a process of its own: the best of one folder, which stays open there."""
    index = _opened.get(folder)
    if index is None or index.source != source:
        index = _opened[folder] = Index.open(folder)
        if index.source != source:
            del _opened[folder]
            raise DeixisError(f"The index {folder} has been changed meanwhile.", "Open the shards again.")
    return index.search(queries, k)


def _merged(found: Sequence[Hits], k: int) -> ShardHits:
    """The best of what each folder found."""
    scores = np.concatenate([each.scores for each in found], axis=1)
    rows = np.concatenate([each.rows for each in found], axis=1)
    shards = np.repeat(np.arange(len(found)), [each.rows.shape[1] for each in found])
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return ShardHits(np.take_along_axis(scores, order, 1), shards[order], np.take_along_axis(rows, order, 1))
