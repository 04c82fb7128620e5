"""The first results of a search in another order: a model that reads picture and words together scores each again."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from deixis.apps.common.find_picture import find_picture
from deixis.apps.predict.capable import Model, open_method
from deixis.apps.search.query import Query, SearchResults
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError

__all__ = ["RERANKED", "Reranked", "Reranker", "require_words_alone", "reranker"]

RERANKED = 50
"""How many results, from the first, are scored again."""


class Reranked(NamedTuple):
    """What scoring again gave.

    Attributes:
        results: in their new order.
        pairs: how many were scored.
        seconds: that it took.
    """

    results: SearchResults
    pairs: int
    seconds: float


class Reranker:
    """Puts the first results of a search in the order of a method that reads picture and words together.

    Args:
        model: folder of a run whose method offers `match`, or such a method.

    Raises:
        DeixisError: it does not offer this.
    """

    def __init__(self, model: Model) -> None:
        self.method = open_method(model, "match")
        self._pairs = RegionPairs(self.method)

    def __call__(
        self, answer: SearchResults, text: str, *, at_once: int = RERANKED, pause: Callable[[], object] = lambda: None
    ) -> Reranked:
        """The results, the first in their new order; those whose picture has gone come after them.

        Args:
            answer: of the search.
            text: the words of its query.
            at_once: pairs that are scored together.
            pause: called before each such batch; what it raises ends the work.
        """
        start = time.perf_counter()
        first, rest = answer.found[:RERANKED], answer.found[RERANKED:]
        there = [(hit, picture) for hit in first if (picture := find_picture(str(hit.item["path"]))) is not None]
        scores: list[float] = []
        for place in range(0, len(there), at_once):
            pause()
            pictures = [picture for _, picture in there[place : place + at_once]]
            scores += self._pairs.match(pictures, [text] * len(pictures)).tolist()
        ranked = sorted(zip(scores, there, strict=True), key=lambda each: -each[0])
        known = {hit.row for hit, _ in there}
        found = [*(hit for _, (hit, _) in ranked), *(hit for hit in first if hit.row not in known), *rest]
        return Reranked(dataclasses.replace(answer, found=found), len(there), time.perf_counter() - start)


def require_words_alone(query: Query) -> None:
    """Refuses a query that is no text to be scored with a picture.

    Raises:
        DeixisError: it has no words, or more than words.
    """
    if not query.texts or query.images or query.minus_texts or query.minus_images:
        raise DeixisError(
            "--rerank scores pairs of a picture and a text, and the query is not words alone.",
            "Give words, and leave --image and --minus out.",
        )


def reranker(run: str | os.PathLike[str], query: Query) -> Callable[[SearchResults, int], Reranked]:
    """What puts results in another order; whatever is wrong is said before anything is searched.

    Args:
        run: folder of a run whose method offers `match`.
        query: words, and nothing else.

    Raises:
        DeixisError: the query has no words or more than words, or the run's method scores no pairs.
    """
    require_words_alone(query)
    rerank, text = Reranker(run), " ".join(query.texts)

    def order(answer: SearchResults, k: int) -> Reranked:
        ranked = rerank(answer, text)
        return ranked._replace(results=dataclasses.replace(ranked.results, found=ranked.results.found[:k]))

    return order
