"""Pictures of an index that are like one of them in a respect that its run has learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64

from deixis.apps.respects.stored import Respect, read_respects
from deixis.apps.search.query import SearchHit, SearchResults
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.errors import RequestError
from deixis.errors import DeixisError
from deixis.indexing.index import Index

__all__ = ["RespectSearch"]


class RespectSearch:
    """Compares the pictures of an index in the respects of its run; threads may share it.

    Args:
        searcher: of the run.
    """

    def __init__(self, searcher: Searcher) -> None:
        self._searcher = searcher
        self._known: tuple[Index, dict[str, Respect]] | None = None
        self._near: tuple[Index, str, Int64[np.ndarray, " N"], Float[torch.Tensor, "N K"]] | None = None

    def names(self, index: Index) -> list[str]:
        """What the respects are called; none where none was learned, or what was learned can't be read."""
        return list(self._respects(index))

    def __call__(self, index: Index, row: int, name: str, where: Sequence[str], part: tuple[int, int]) -> SearchResults:
        """What is most like a picture in a respect, itself left out.

        Args:
            index: as it lies on disk now.
            row: of the picture.
            name: of the respect.
            where: conditions on columns.
            part: how many of the first are left out, and how many come.

        Raises:
            RequestError: the run has no such respect.
            DeixisError: a condition can't be read.
        """
        known = self._respects(index)
        if name not in known:
            there = f"It has: {', '.join(known)}." if known else "Learn some: deixis adapt DATA --about COLUMNS"
            raise RequestError(422, f"The run has no respect {name!r}.", there)
        rows, near = self._compared(index, known[name])
        scores = (near @ near[int(np.searchsorted(rows, row))]).numpy()
        mask = index.where(where).copy()
        mask[row] = False
        order = np.argsort(-scores, kind="stable")
        order = order[mask[rows[order]]]
        offset, k = part
        hits = [
            SearchHit(float(scores[each]), index.item(int(rows[each])), int(rows[each])) for each in order[offset:][:k]
        ]
        return SearchResults(hits, False, known[name].sentence, len(order))

    def _respects(self, index: Index) -> dict[str, Respect]:
        if self._known is None or self._known[0] is not index:
            try:
                found = read_respects(self._searcher.run, str(index.manifest["fingerprint"]))
            except DeixisError:
                found = {}
            self._known = (index, found)
        return self._known[1]

    def _compared(self, index: Index, respect: Respect) -> tuple[Int64[np.ndarray, " N"], Float[torch.Tensor, "N K"]]:
        """The rows of the index and their vectors in a respect; those of the last one are kept."""
        if self._near is None or self._near[0] is not index or self._near[1] != respect.name:
            self._near = (index, respect.name, index.row_numbers, respect.of_index(index))
        return self._near[2], self._near[3]
