"""What the model's thread does for several clients at a time: one pass through each tower, one over the index."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from deixis.apps.common.concepts import TextReader, spoken, with_concepts
from deixis.apps.search.query import Query, SearchHit, SearchResults
from deixis.apps.search.says import ReadWords
from deixis.apps.search.searcher import Searcher
from deixis.apps.serve.columns import SortedRows, sorted_hits
from deixis.apps.serve.errors import RequestError
from deixis.engine.export.image_graph import ImageGraph, open_image_graph
from deixis.errors import DeixisError
from deixis.indexing.index import Index
from deixis.nn.compute import autocast
from deixis.nn.modes import evaluating

__all__ = ["LARGEST", "BatchedSearch", "Encoding", "SearchJob", "item_of"]

LARGEST = 64
"""Texts and pictures that go through the model at a time."""

_SORTED = 500  # best results, of which the likely ones are sorted by a column


@dataclasses.dataclass(frozen=True)
class SearchJob:
    """A search, its pictures left out.

    Attributes:
        query: the words, and an empty place for each picture; None: the collection as it lies.
        like: a row that counts as the first of the pictures.
        k: how many answers.
        offset: how many are left out before.
        where: conditions.
        min_relevance: as for `Searcher.search`.
        left_out: rows that are never answered: the pictures that are asked with.
        sort: a column that the answers are sorted by; empty: the best first.
        descending: sort from high to low.
        says: words that stand in the picture; empty: any picture.
        measured: whether the model reads the words, so that chances were measured.
    """

    query: Query | None
    like: int | None
    k: int
    offset: int
    where: tuple[str, ...]
    min_relevance: float
    left_out: frozenset[int] = frozenset()
    sort: str = ""
    descending: bool = False
    says: str = ""
    measured: bool = True

    @property
    def most(self) -> int:
        """Answers that are needed for these to be among them."""
        return (_SORTED if self.sort else self.offset + self.k) + len(self.left_out)


@dataclasses.dataclass(frozen=True)
class Encoding:
    """What the model is to encode for one client, and what is then looked for.

    Attributes:
        texts: words; of a search those that are asked for, then those to be left out.
        pixels: pictures, preprocessed, in the same order.
        job: the search; None where the vectors themselves are wanted.
        reader: what reads the texts; None: the model.
    """

    texts: tuple[str, ...]
    pixels: Float[Tensor, "m 3 H W"] | None
    job: SearchJob | None = None
    reader: TextReader | None = None

    @property
    def weight(self) -> int:
        """How many texts and pictures."""
        return len(self.texts) + (0 if self.pixels is None else len(self.pixels))


class BatchedSearch:
    """Answers several works at once: `SearchResults` to a search, vectors [n D] where these are wanted, or the error
    that is this client's alone.

    Args:
        searcher: what is searched.
        opened: the index as it lies on disk now.
    """

    def __init__(self, searcher: Searcher, opened: Callable[[], Index]) -> None:
        self._searcher, self._opened = searcher, opened
        self._sorted = SortedRows()
        self._read: ReadWords | None = None

    def __call__(self, works: Sequence[Encoding]) -> list[Any]:
        """The answers, in order."""
        index = self._opened()
        answers: dict[int, Any] = {}
        pointed: dict[int, Float32[np.ndarray, " D"]] = {}
        for place, (work, (texts, images)) in enumerate(zip(works, self._encoded(works), strict=True)):
            try:
                texts = with_concepts(work.texts, texts, self._searcher.run)
                if work.job is None:
                    answers[place] = np.concatenate([texts, images]).tolist()
                elif work.job.query is None:
                    answers[place] = self._as_it_lies(index, work.job)
                else:
                    pointed[place] = _direction(index, work.job, work.job.query, texts, images)
            except Exception as error:
                answers[place] = error
        self._search({place: work.job for place, work in enumerate(works) if work.job}, pointed, answers)
        return [answers[place] for place in range(len(works))]

    def _encoded(
        self, works: Sequence[Encoding]
    ) -> list[tuple[Float32[np.ndarray, "n D"], Float32[np.ndarray, "m D"]]]:
        """Vectors of each work's texts and pictures; a text that several ask for is read once."""
        encoder = self._searcher.encoder
        plain = (work for work in works if work.reader is None)
        distinct = {text: row for row, text in enumerate(dict.fromkeys(text for work in plain for text in work.texts))}
        words = np.asarray(encoder.encode_text(list(map(spoken, distinct)), batch_size=LARGEST).cpu())
        pixels = [work.pixels for work in works if work.pixels is not None]
        shown = np.empty((0, encoder.width), np.float32)
        if pixels:
            with evaluating(encoder), torch.no_grad(), autocast(encoder.device):
                shown = np.asarray(self._shown(torch.cat(pixels)).float().cpu())
        counts = [0 if work.pixels is None else len(work.pixels) for work in works]
        images = np.split(shown, np.cumsum(counts)[:-1])
        return [
            (words[[distinct[text] for text in work.texts]] if work.reader is None else _read(work, encoder.width), own)
            for work, own in zip(works, images, strict=True)
        ]

    @functools.cached_property
    def _graph(self) -> ImageGraph | None:
        """What embedded the pictures of the index in place of torch, and then embeds those that clients send."""
        return open_image_graph(self._searcher.encoder) if self._searcher.index.engine else None

    def _shown(self, pixels: Float[Tensor, "m 3 H W"]) -> Float[Tensor, "m D"]:
        encoder = self._searcher.encoder
        if self._graph is not None:
            return encoder.adapted(self._graph.states(pixels))
        return encoder.encode_image(pixels.to(encoder.device))

    def _search(
        self, job: Mapping[int, SearchJob], pointed: Mapping[int, Float32[np.ndarray, " D"]], answers: dict[int, Any]
    ) -> None:
        """Looks for all directions that have the same conditions at once."""
        alike: dict[tuple[Any, ...], list[int]] = collections.defaultdict(list)
        for place in pointed:
            each = job[place]
            sure = each.measured and each.query is not None and each.query.plain
            alike[each.where, each.says, each.min_relevance, sure].append(place)
        for (where, words, least, _), places in alike.items():
            try:
                found = self._searcher.search_vectors(
                    np.stack([pointed[place] for place in places]),
                    [job[place].query if job[place].measured else None for place in places],
                    max(job[place].most for place in places),
                    where=where,
                    min_relevance=least,
                    among=self._mask(self._searcher.index, words) if words else None,
                )
            except Exception as error:
                answers.update(dict.fromkeys(places, error))
            else:
                answers.update({place: _page(job[place], one) for place, one in zip(places, found, strict=True)})

    def _words(self, index: Index) -> ReadWords:
        """The words that stand in pictures, looked through once."""
        if self._read is None or self._read.index is not index:
            self._read = ReadWords(index)
        return self._read

    def _mask(self, index: Index, words: str) -> Bool[np.ndarray, " N"]:
        mask = np.zeros(index.rows, bool)
        mask[self._words(index).rows(words)] = True
        return mask

    def _as_it_lies(self, index: Index, job: SearchJob) -> SearchResults:
        """The collection in its order, or in that of a column, where nothing is asked for; of pictures with some words
        in them those first in which these stand letter by letter."""
        mask = index.where(job.where)
        rows = np.flatnonzero(mask)
        if job.says:
            read = np.array(self._words(index).rows(job.says), np.int64)
            rows = read[mask[read]]
            mask = mask & self._mask(index, job.says)
        if job.sort:
            ordered = self._sorted(index, job.sort, job.descending)
            rows = ordered[mask[ordered]]
        chosen = rows[job.offset : job.offset + job.k].tolist()
        return SearchResults([SearchHit(float("nan"), index.item(row), row) for row in chosen], False, "", len(rows))


def _read(work: Encoding, width: int) -> Float32[np.ndarray, "n D"]:
    """The texts of a work as another reader than the model reads them."""
    assert work.reader is not None
    return work.reader(list(map(spoken, work.texts))) if work.texts else np.empty((0, width), np.float32)


def item_of(index: Index, row: int) -> dict[str, Any]:
    """What a row stands for.

    Args:
        index: open.
        row: that a client asks for.

    Raises:
        Refused: there is no such row, or not any more.
    """
    try:
        return index.item(row)
    except (DeixisError, IndexError) as error:
        raise RequestError(404, f"There is no picture {row} in the index.", "Search again.") from error


def _direction(
    index: Index,
    job: SearchJob,
    query: Query,
    texts: Float32[np.ndarray, "n D"],
    images: Float32[np.ndarray, "m D"],
) -> Float32[np.ndarray, " D"]:
    """The query as one vector."""
    if job.like is not None:
        item_of(index, job.like)
        images = np.concatenate([index.vector(job.like)[None], images])
    plus, shown = len(query.texts), len(query.images)
    return Searcher.composed(query, texts[:plus], images[:shown], texts[plus:], images[shown:])


def _page(job: SearchJob, answer: SearchResults) -> SearchResults:
    """The part of an answer that was asked for."""
    others = answer.without(job.left_out, len(answer))
    if job.sort:
        likely = sorted_hits(others.found[: others.likely], job.sort, job.descending)
        others = dataclasses.replace(others, found=likely, total=len(likely))
    return dataclasses.replace(others, found=others.found[job.offset : job.offset + job.k])
