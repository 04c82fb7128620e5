"""A run that reads picture and words together: it scores the first results again, and says which box a word means."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deixis.apps.common.find_picture import find_picture
from deixis.apps.explain.word_regions import WordRegion, align_words
from deixis.apps.search.query import SearchHit, SearchResults
from deixis.apps.search.rerank import RERANKED, Reranked, Reranker
from deixis.apps.serve.errors import RequestError
from deixis.engine.training.stages import offers
from deixis.indexing.index import Index
from deixis.types import Member
from deixis.types.protocols import OffersAlign

__all__ = ["PairScorer"]

_TOGETHER = 10  # pairs that are scored between two looks at the clock
_TRIED = 4  # pictures by which the seconds are estimated before anybody has asked
_WORDS = "a picture of something"


class PairScorer:
    """Scores pairs of a picture and a text with a run. In the model's thread.

    Args:
        run: folder of a run whose method offers `match`.
        index: whose first pictures are scored once, to know how long that takes.

    Raises:
        DeixisError: the run's method does not offer it, or its regions are boxes that only data have.
    """

    def __init__(self, run: str, index: Index) -> None:
        self._rerank = Reranker(run)
        self.can_align = offers(self._rerank.method, OffersAlign)
        self.seconds = self._estimate(index)

    def rerank(self, answer: SearchResults, text: str, deadline: float) -> Reranked:
        """The results, the first of them in a new order.

        Args:
            answer: of a search by words.
            text: these words.
            deadline: by `time.monotonic`.

        Raises:
            RequestError: it takes too long.
        """
        ranked = self._rerank(answer, text, at_once=_TOGETHER, pause=_watch(deadline))
        if ranked.pairs:
            self.seconds = ranked.seconds * RERANKED / ranked.pairs
        return ranked

    def align(self, picture: Path | Member, text: str) -> list[WordRegion]:
        """The box that each word of a text means in a picture.

        Raises:
            RequestError: the run can't tell.
        """
        if not self.can_align:
            raise RequestError(422, "This run does not say which box a word means.", "Name another with --rerank.")
        return align_words(self._rerank.method, picture, [text])[0]

    def _estimate(self, index: Index) -> float | None:
        """Seconds for as many results as are scored again; None where no picture is there."""
        there = (
            SearchHit(0.0, item, row) for row, item in index.items() if find_picture(str(item["path"])) is not None
        )
        hits = list(itertools.islice(there, _TRIED))
        if not hits:
            return None
        ranked = self._rerank(SearchResults(hits, False, "", len(hits)), _WORDS)
        return ranked.seconds * RERANKED / ranked.pairs


def _watch(deadline: float) -> Callable[[], Any]:
    def watch() -> None:
        if time.monotonic() > deadline:
            raise RequestError(
                503, "It takes too long to score so many pictures.", "Search again: what was read of them is kept."
            )

    return watch
