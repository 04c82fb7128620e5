"""The first results of a search in another order: a model that reads picture and words together scores each again."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable
from typing import NamedTuple

from deixis.apps.common.find_picture import find_picture
from deixis.apps.predict.capable import open_method
from deixis.apps.search.query import Query, SearchResults
from deixis.engine.features.region_pairs import RegionPairs
from deixis.errors import DeixisError

__all__ = ["RERANKED", "Reranked", "reranker"]

RERANKED = 50
"""How many results, from the first, are scored again."""


class Reranked(NamedTuple):
    """What scoring again gave.

    Attributes:
        results: the k first in their new order.
        pairs: how many were scored.
        seconds: that it took.
    """

    results: SearchResults
    pairs: int
    seconds: float


def reranker(run: str | os.PathLike[str], query: Query) -> Callable[[SearchResults, int], Reranked]:
    """What puts results in another order; whatever is wrong is said before anything is searched.

    Args:
        run: folder of a run whose method offers `match`.
        query: words, and nothing else.

    Raises:
        DeixisError: the query has no words or more than words, or the run's method scores no pairs.
    """
    if not query.texts or query.images or query.minus_texts or query.minus_images:
        raise DeixisError(
            "--rerank scores pairs of a picture and a text, and the query is not words alone.",
            "Give words, and leave --image and --minus out.",
        )
    pairs, text = RegionPairs(open_method(run, "match")), " ".join(query.texts)

    def order(answer: SearchResults, k: int) -> Reranked:
        start = time.perf_counter()
        first, rest = answer.found[:RERANKED], answer.found[RERANKED:]
        there = [(hit, picture) for hit in first if (picture := find_picture(str(hit.item["path"]))) is not None]
        scores = pairs.match([picture for _, picture in there], [text] * len(there)).tolist()
        ranked = sorted(zip(scores, there, strict=True), key=lambda each: -each[0])
        known = {hit.row for hit, _ in there}
        found = [*(hit for _, (hit, _) in ranked), *(hit for hit in first if hit.row not in known), *rest]
        seconds = time.perf_counter() - start
        return Reranked(dataclasses.replace(answer, found=found[:k]), len(there), seconds)

    return order
